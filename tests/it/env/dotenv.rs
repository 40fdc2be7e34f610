//! Files of values: read as the dotenv libraries read them, or refused.

use std::collections::BTreeMap;

use insta::assert_snapshot;
use shipit::config::dotenv::parse;

/// Returns `NAME line value` for each value, or what is wrong.
fn read(text: &str) -> String {
    let known = BTreeMap::from([("BEFORE".to_owned(), "b4".to_owned())]);
    match parse(text, &known) {
        Ok(values) => {
            let told = values.iter().map(|it| format!("{} {} {:?}", it.name, it.line, it.value));
            told.collect::<Vec<_>>().join("\n")
        }
        Err(error) => format!("{}: {error}; {}", error.line, error.fault.hint()),
    }
}

#[test]
fn forms_that_all_libraries_read_alike_are_read() {
    let text = "\u{feff}# a comment\n\
         PLAIN=value\r\n\
         EMPTY=\n\
         export EXPORTED = spaced  # a comment\n\
         \tINDENTED='single # $no \\n'\n\
         DOUBLE=\"a\\nb\\t\\\"c\\\" \\\\ \\$d\" # a comment\n\
         LINES=\"-----BEGIN\n  # no comment\n-----END\n\"\n\
         BACK=`it's \"both\"`\n\
         URL=postgres://u:p@h/db?a=b&c=d\n\
         BASE64=c2VjcmV0==\n\
         REF=${PLAIN}/${BEFORE}\n\
         REF2=\"<${REF}>\"\n\
         NOREF='${PLAIN}'\n\
         DOLLARS=a$ $1 $$\n\
         APOSTROPHE=it's\n\
         PATH=C:\\dir\n\
         PLAIN=again\n\
         LAST=  ";
    assert_snapshot!(read(text), @r#"
    PLAIN 2 "value"
    EMPTY 3 ""
    EXPORTED 4 "spaced"
    INDENTED 5 "single # $no \\n"
    DOUBLE 6 "a\nb\t\"c\" \\ $d"
    LINES 7 "-----BEGIN\n  # no comment\n-----END\n"
    BACK 11 "it's \"both\""
    URL 12 "postgres://u:p@h/db?a=b&c=d"
    BASE64 13 "c2VjcmV0=="
    REF 14 "value/b4"
    REF2 15 "<value/b4>"
    NOREF 16 "${PLAIN}"
    DOLLARS 17 "a$ $1 $$"
    APOSTROPHE 18 "it's"
    PATH 19 "C:\\dir"
    PLAIN 20 "again"
    LAST 21 ""
    "#);
    assert_snapshot!(read(""), @"");
}

#[test]
fn forms_that_libraries_read_differently_are_refused() {
    assert_snapshot!(read("A=1\nB"), @"2: neither `NAME=value` nor a comment; write `NAME=value`, or put `#` in front of it");
    assert_snapshot!(read("A: 1"), @"1: neither `NAME=value` nor a comment; write `NAME=value`, or put `#` in front of it");
    assert_snapshot!(read("export A"), @"1: neither `NAME=value` nor a comment; write `NAME=value`, or put `#` in front of it");
    assert_snapshot!(read("A.B=1"), @"1: a name that is not of letters, digits and `_`, or begins with a digit; rename it, or delete the line");
    assert_snapshot!(read("1A=1"), @"1: a name that is not of letters, digits and `_`, or begins with a digit; rename it, or delete the line");
    assert_snapshot!(read("A B=1"), @"1: neither `NAME=value` nor a comment; write `NAME=value`, or put `#` in front of it");
    assert_snapshot!(read("A='x\nB=2"), @"1: the value of `A` begins with ', and nothing closes it; close it, or put the whole value between the other quotes");
    assert_snapshot!(read("A='x' y"), @"1: there is text behind the closing quote of `A`; put the whole value between quotes");
    assert_snapshot!(read("A=x#y"), @"1: the value of `A` holds `#` with no blank before it; put the whole value between quotes");
    assert_snapshot!(read("A=#fff"), @"1: the value of `A` holds `#` with no blank before it; put the whole value between quotes");
    assert_snapshot!(read("A=\"C:\\dir\""), @r"1: the value of `A` holds `\d` between double quotes; single quotes keep a backslash as it is; `\\` is one too");
    assert_snapshot!(read("A='it\\'s'"), @"1: the value of `A` holds a backslash before a quote of the kind around it; put the value between double quotes");
    assert_snapshot!(read("A=${B}"), @"1: the value of `A` refers to `B`, which no line before it sets; only `${NAME}` of a line before it is expanded; single quotes keep it as it is");
    assert_snapshot!(read("A=\"${B:-c}\""), @"1: the value of `A` holds `$`, which some libraries expand and others do not; only `${NAME}` of a line before it is expanded; single quotes keep it as it is");
    assert_snapshot!(read("A=pa$word"), @"1: the value of `A` holds `$`, which some libraries expand and others do not; only `${NAME}` of a line before it is expanded; single quotes keep it as it is");
    assert_snapshot!(read("A=\"$(id)\""), @"1: the value of `A` holds `$`, which some libraries expand and others do not; only `${NAME}` of a line before it is expanded; single quotes keep it as it is");
}
