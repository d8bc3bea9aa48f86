"""The web page and its files."""

from typing import Any, TypeAlias

from litestar import Request, Response, get
from litestar.params import FromPath

from service.desk import assets
from service.faults import NotFound

AnyRequest: TypeAlias = Request[Any, Any, Any]


def _file(name: str, request: AnyRequest) -> Response[bytes]:
    asset = assets().get(name)
    if asset is None:
        raise NotFound(f"the desk has no file {name!r}", "open / for the page")
    headers = {"etag": asset.etag, "cache-control": "no-cache"}
    if request.headers.get("if-none-match") == asset.etag:
        return Response(b"", status_code=304, headers=headers, media_type=asset.media_type)
    return Response(asset.content, headers=headers, media_type=asset.media_type)


@get("/", include_in_schema=False)
async def page(request: AnyRequest) -> Response[bytes]:
    """Return the desk."""
    return _file("index.html", request)


@get("/desk/{name:str}", include_in_schema=False)
async def file(name: FromPath[str], request: AnyRequest) -> Response[bytes]:
    """Return one file of the desk."""
    return _file(name, request)
