// Answers `/`, says at `/up` that it is well, and ends with its last answer.
const http = require("node:http");
const greeting = require("greeting");

const well = true;
const server = http.createServer((request, response) => {
  if (request.url === "/up") {
    response.writeHead(well ? 200 : 500).end(well ? "up\n" : "down\n");
  } else {
    response.end(greeting);
  }
});
server.listen(process.env.PORT, "127.0.0.1");
process.on("SIGTERM", () => {
  server.close();
  server.closeIdleConnections();
});
