"""Django, as WSGI and as ASGI."""

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import re_path

settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="for tests", USE_X_FORWARDED_HOST=True)


def served(request, said, path):
    return JsonResponse({
        "said": said, "method": request.method, "path": path, "scheme": request.scheme, "host": request.get_host(),
        "tenant": request.headers.get("X-Tenant-Id"), "proxy": request.META.get("HTTP_PROXY"),
    })


urlpatterns = [
    re_path(r"^admin$", lambda request: served(request, "ADMIN", "/admin")),
    re_path(r"^(?P<path>public(/.*)?)$", lambda request, path: served(request, "PUBLIC", f"/{path}")),
]
wsgi = get_wsgi_application()
asgi = get_asgi_application()
