"""Answers `/`, and says at `/up` that it is well."""

import os
from wsgiref.simple_server import make_server

from greeting import greeting

WELL = True


def app(environ, start):
    if environ["PATH_INFO"] == "/up":
        start("200 OK" if WELL else "500 Internal Server Error", [])
        return [b"up\n" if WELL else b"down\n"]
    start("200 OK", [("Content-Type", "text/plain")])
    return [f"todo 1, {greeting}\n".encode()]


make_server("127.0.0.1", int(os.environ["PORT"]), app).serve_forever()
