"""FastAPI, and with it Starlette. `mounted` takes the place that it is mounted at from a header."""

from fastapi import FastAPI, Request

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
app = FastAPI()


def served(request, said, path):
    return {
        "said": said, "method": request.method, "path": path, "scheme": request.url.scheme, "host": request.headers["host"],
        "tenant": request.headers.get("x-tenant-id"),
    }


@app.api_route("/admin", methods=METHODS)
async def admin(request: Request):
    return served(request, "ADMIN", "/admin")


@app.api_route("/public", methods=METHODS)
async def public(request: Request):
    return served(request, "PUBLIC", "/public")


@app.api_route("/public/{rest:path}", methods=METHODS)
async def below(request: Request, rest: str):
    return served(request, "PUBLIC", f"/public/{rest}")


async def mounted(scope, receive, send):
    headers = dict(scope.get("headers", []))
    place = headers.get(b"x-ingress-path") or headers.get(b"x-forwarded-prefix") or headers.get(b"x-root-path")
    if place:
        scope = {**scope, "root_path": place.decode()}
    await app(scope, receive, send)
