"""The API's reference as one plain page: FastAPI's own would load its scripts from another site."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}: API</title>
<link rel="icon" href="/icon.svg">
<link rel="stylesheet" href="/reference.css">
<main>
<h1>{title} <small>{version}</small></h1>
{about}
<p>The same for programs: <a href="/openapi.json">openapi.json</a>. <a href="/">To the controls</a></p>
{routes}
</main>
</html>
"""


def reference_page(schema: Mapping[str, Any]) -> str:
    """Return the OpenAPI `schema` as HTML without scripts."""
    info = schema["info"]
    paragraphs = (f"<p>{_prose(part)}</p>" for part in info["description"].strip().split("\n\n"))
    routes = (
        _route(path, method, route)
        for path, methods in schema["paths"].items()
        for method, route in methods.items()
    )
    return _PAGE.format(
        title=escape(info["title"]),
        version=escape(info["version"]),
        about="\n".join(paragraphs),
        routes="\n".join(routes),
    )


def _route(path: str, method: str, route: Mapping[str, Any]) -> str:
    return (
        f'<section><h2><span class="{method}">{method.upper()}</span> <code>{escape(path)}</code></h2>'
        f"<p>{_prose(route.get('description', ''))}</p>"
        f"<dl>{''.join(_facts(route))}</dl></section>"
    )


def _facts(route: Mapping[str, Any]) -> Iterator[str]:
    for given in route.get("parameters", ()):
        about = given.get("description", f"in the {given['in']}")
        if "default" in given["schema"]:
            about += f"; {given['schema']['default']} if left out"
        yield f"<dt><code>{escape(given['name'])}</code></dt><dd>{escape(about)}</dd>"
    for media_type, body in route.get("requestBody", {}).get("content", {}).items():
        for example in body["schema"].get("examples", ()):
            yield f"<dt>{escape(media_type)}</dt><dd><code>{escape(json.dumps(example))}</code></dd>"
    yield f"<dt>answers</dt><dd>{', '.join(route['responses'])}</dd>"


def _prose(text: str) -> str:
    """Return text with `code` between backquotes marked."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))
