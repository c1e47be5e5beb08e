"""Pyramid, which finds what it serves by walking through a tree."""

import os

from pyramid.config import Configurator
from waitress import serve


class Place:
    def __init__(self, said, path):
        self.said, self.path = said, path

    def __getitem__(self, name):
        return Place(self.said, f"{self.path}/{name}")


def view(place, request):
    return {
        "said": place.said, "method": request.method, "path": place.path, "scheme": request.scheme, "host": request.host,
        "tenant": request.headers.get("X-Tenant-Id"), "proxy": request.environ.get("HTTP_PROXY"),
    }


with Configurator(root_factory=lambda request: {"admin": Place("ADMIN", "/admin"), "public": Place("PUBLIC", "/public")}) as config:
    config.add_view(view, context=Place, renderer="json")
    serve(config.make_wsgi_app(), host="127.0.0.1", port=int(os.environ["PORT"]), _quiet=True)
