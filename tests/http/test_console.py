"""The console's page and its files: who may have them, what the browser may do with them, and how they are kept."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from telewarden_http import console
from telewarden_http.console import read_assets

if TYPE_CHECKING:
    from http.conftest import Api

pytestmark = pytest.mark.anyio

FOLDER = Path(console.__file__).with_name("console")
FILES = sorted(path.name for path in FOLDER.iterdir())
_NAMED = re.compile(r"""(?:from |import |href=|src=)"(?:\./|console/)([^"]+)\"""")


async def test_the_page_needs_no_key_and_holds_nothing_of_the_daemon(api: Api) -> None:
    answer = await api.ask("GET", "/console", headers={})

    assert answer.status == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.body == (FOLDER / "index.html").read_bytes()


@pytest.mark.parametrize("path", ["/console", "/console/app.js", "/console/icon.svg", "/console/page.css"])
async def test_a_browser_lets_the_page_do_nothing_but_what_comes_from_here(api: Api, path: str) -> None:
    answer = await api.ask("GET", path, headers={})

    assert answer.headers["content-security-policy"].split("; ") == [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("app.js", "text/javascript; charset=utf-8"),
        ("page.css", "text/css; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
    ],
)
async def test_a_file_is_served_as_what_it_is(api: Api, name: str, kind: str) -> None:
    answer = await api.ask("GET", f"/console/{name}", headers={})

    assert answer.status == 200
    assert answer.headers["content-type"] == kind
    assert answer.body == (FOLDER / name).read_bytes()


async def test_a_file_that_a_browser_has_is_not_sent_again(api: Api) -> None:
    first = await api.ask("GET", "/console/app.js", headers={})
    again = await api.ask("GET", "/console/app.js", headers={"If-None-Match": first.headers["etag"]})
    other = await api.ask("GET", "/console/app.js", headers={"If-None-Match": '"older"'})

    assert first.headers["cache-control"] == "no-cache"
    assert (again.status, again.body) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert (other.status, other.body) == (200, first.body)


@pytest.mark.parametrize("name", ["nothing.js", "..%2fconsole.py", "%2e%2e", "index.html.js", "a/b.js"])
async def test_what_is_no_file_of_the_console_is_not_found(api: Api, name: str) -> None:
    assert (await api.ask("GET", f"/console/{name}", headers={})).status == 404


async def test_the_address_with_a_slash_leads_to_the_page(api: Api) -> None:
    answer = await api.ask("GET", "/console/", headers={})

    assert (answer.status, answer.headers["location"]) == (308, "../console")


def test_every_file_is_served_and_named_by_another_one() -> None:
    named = {name for file in FILES for name in _NAMED.findall((FOLDER / file).read_text())}

    assert sorted(read_assets()) == FILES
    assert named == {*FILES} - {"index.html"}


@pytest.mark.parametrize("name", FILES)
def test_no_file_makes_markup_of_text_or_asks_anything_of_elsewhere(name: str) -> None:
    text = (FOLDER / name).read_text()
    elsewhere = set(re.findall(r"(?:https?:)?//[\w.]+\.\w+[^\s\"'`]*", text)) - {"http://www.w3.org/2000/svg"}

    assert elsewhere == set()
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\b|Function\(", text
    )
    assert not re.search(r"<style|<script>|\sstyle=|\son[a-z]+=", text)


def test_a_built_wheel_holds_every_file(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=root, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        names = packed.namelist()

    assert {f"telewarden_http/console/{name}" for name in FILES} <= set(names)
