"""The same service as `serve` for a server that has workers."""

from pathlib import Path

RELEASE = Path(__file__).resolve().parent
VERSION = (RELEASE / "VERSION").read_text().strip()


def app(environ, start):
    broken = environ["PATH_INFO"] == "/up" and (RELEASE / "UNHEALTHY").exists()
    body = b"broken\n" if broken else f"version={VERSION}\n".encode()
    headers = [("Content-Length", str(len(body)))]
    start("500 Broken" if broken else "200 OK", headers)
    return [body]
