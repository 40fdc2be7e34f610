module.exports = "todo 1\n";
