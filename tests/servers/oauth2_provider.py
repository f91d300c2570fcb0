"""The process behind tests.servers.oauth2: django-oauth-toolkit, with nothing of ours in it.

All protocol is the library's: authorization codes with PKCE, refresh with rotation and
reuse protection, the device flow, introspection, revocation. Here is only what a site has
around it: settings, two clients, and a visitor who is logged in as whom `login_hint` names.

    python -m tests.servers.oauth2_provider FOLDER PORT LIFETIME
"""

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import django
from django.conf import settings
from django.core.management import call_command
from django.http import HttpRequest, HttpResponse
from django.urls import include, path

CLIENT, SECRET = "fetchd", "client-secret-of-the-tests"
PUBLIC = "fetchd-public"
DEFAULT_USER = "me"
SCOPES = {"mail": "Mail", "more": "More", "introspection": "Introspection"}
_TEMPLATES = "django.template.backends.django"
urlpatterns: list[Any] = []


def visitor(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[..., HttpResponse]:
    """Whoever comes is logged in already."""

    def middleware(request: HttpRequest) -> HttpResponse:
        from django.contrib.auth.models import User

        name = request.GET.get("login_hint", DEFAULT_USER)
        request.user = User.objects.get_or_create(username=name)[0]  # type: ignore[assignment]
        return get_response(request)

    return middleware


def configure(folder: Path, port: int, lifetime: int) -> None:
    settings.configure(
        SECRET_KEY="of a test",
        DEBUG=False,
        ALLOWED_HOSTS=["127.0.0.1"],
        USE_TZ=True,
        LOGGING_CONFIG=None,
        ROOT_URLCONF=__name__,
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "oauth2_provider"],
        MIDDLEWARE=[f"{__name__}.visitor"],
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        TEMPLATES=[
            {"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}
        ],
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": str(folder / "provider.db"),
                "OPTIONS": {"timeout": 30, "transaction_mode": "IMMEDIATE"},
            }
        },
        OAUTH2_PROVIDER={
            "SCOPES": SCOPES,
            "DEFAULT_SCOPES": ["mail"],
            "ACCESS_TOKEN_EXPIRE_SECONDS": lifetime,
            "ROTATE_REFRESH_TOKEN": True,
            "REFRESH_TOKEN_REUSE_PROTECTION": True,
            "DEVICE_FLOW_INTERVAL": 1,
            "OAUTH_DEVICE_VERIFICATION_URI": f"http://127.0.0.1:{port}/o/device/",
        },
    )
    django.setup()
    urlpatterns.append(path("o/", include("oauth2_provider.urls", namespace="oauth2_provider")))
    call_command("migrate", verbosity=0)


def register() -> None:
    """A confidential client and a public one, as their owners would register them."""
    from oauth2_provider.models import Application

    kinds = {
        CLIENT: (Application.CLIENT_CONFIDENTIAL, Application.GRANT_AUTHORIZATION_CODE),
        PUBLIC: (Application.CLIENT_PUBLIC, Application.GRANT_DEVICE_CODE),
    }
    for name, (client_type, grant) in kinds.items():
        Application.objects.get_or_create(
            client_id=name,
            defaults={
                "name": name,
                "client_secret": SECRET,
                "client_type": client_type,
                "authorization_grant_type": grant,
                "redirect_uris": "http://127.0.0.1 http://127.0.0.1:8400",
                "skip_authorization": True,
            },
        )


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 64


class Quiet(WSGIRequestHandler):
    def address_string(self) -> str:
        return str(self.client_address[0])  # no name is looked up


def main() -> None:
    folder, port, lifetime = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    logging.basicConfig(level=logging.ERROR)
    configure(folder, port, lifetime)
    register()
    from django.core.wsgi import get_wsgi_application

    make_server("127.0.0.1", port, get_wsgi_application(), Server, Quiet).serve_forever()


if __name__ == "__main__":
    main()
