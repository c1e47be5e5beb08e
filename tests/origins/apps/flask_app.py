"""Flask, in what such applications are often put into: AROUND says in what."""

import os

from flask import Flask, jsonify, request
from werkzeug.middleware.proxy_fix import ProxyFix

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
app = Flask(__name__)


def served(said, path):
    """What was served, as this side sees it."""
    return jsonify(
        said=said, method=request.method, path=path, scheme=request.scheme, host=request.host,
        tenant=request.headers.get("X-Tenant-Id"), proxy=request.environ.get("HTTP_PROXY"),
    )


@app.route("/admin", methods=METHODS)
def admin():
    return served("ADMIN", "/admin")


@app.route("/public", methods=METHODS, defaults={"rest": None})
@app.route("/public/<path:rest>", methods=METHODS)
def public(rest):
    return served("PUBLIC", "/public" if rest is None else f"/public/{rest}")


@app.errorhandler(404)
def nothing(_):
    return served("NOTHING", request.path), 404


class ReverseProxied:
    """Takes the place that the application is mounted at from a header; copied into thousands of projects since Flask's snippet 35."""

    HEADERS = ["X_SCRIPT_NAME", "X_FORWARDED_PREFIX", "X_FORWARDED_PATH", "X_BASE_PATH", "X_INGRESS_PATH"]

    def __init__(self, inner):
        self.inner = inner

    def __call__(self, environ, start_response):
        mount = next((environ[f"HTTP_{name}"] for name in self.HEADERS if environ.get(f"HTTP_{name}")), "")
        if mount:
            environ["SCRIPT_NAME"] = mount
            environ["PATH_INFO"] = environ["PATH_INFO"].removeprefix(mount)
        environ["wsgi.url_scheme"] = environ.get("HTTP_X_SCHEME") or environ["wsgi.url_scheme"]
        return self.inner(environ, start_response)


class MethodOverride:
    """As Flask's documentation shows it."""

    def __init__(self, inner):
        self.inner = inner

    def __call__(self, environ, start_response):
        method = environ.get("HTTP_X_HTTP_METHOD_OVERRIDE", "").upper()
        if method in METHODS:
            environ["REQUEST_METHOD"] = method
        return self.inner(environ, start_response)


AROUND = os.environ.get("AROUND")
if AROUND == "snippets":
    application = MethodOverride(ReverseProxied(app))
elif AROUND == "proxyfix":
    application = ProxyFix(app, x_for=1, x_proto=1, x_host=1, x_port=1, x_prefix=1)
else:
    application = app

if __name__ == "__main__":
    # Python's own server, which many frameworks start where nothing else is said.
    from wsgiref.simple_server import make_server

    make_server("127.0.0.1", int(os.environ["PORT"]), application).serve_forever()
