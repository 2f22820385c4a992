"""The console in a real browser, on a real daemon: what it shows, what it does, and what it lets nobody do."""

import secrets
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import httpx
import pytest

from support.browser import Browser, start_browser
from support.operator import ask, workers
from support.stacks import consumer
from telewarden.sandbox.stack import CONSUMER, Stack, start_stack

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

KEY = secrets.token_urlsafe(32)
ESCAPE, TAB = "\ue00c", "\ue004"

HOSTILE = (
    "<script>window.hit = 1; alert(1)</script>",
    "<img src=x onerror='window.hit = 2; alert(2)'><svg/onload=alert(3)>",
    "</p></li></ol><h1>All is well</h1><iframe srcdoc='<script>parent.hit=4</script>'></iframe>",
    "&lt;script&gt;alert(5)&lt;/script&gt; &amp; &#x3c;b&#x3e; {{constructor.constructor('alert(6)')()}} ${alert(7)}",
    "javascript:alert(8) https://example.org/<b>x</b> tg://resolve?domain=x",
    "price \u202e0001 LLES\u202c \u2067now\u2069 \u200bzero\ufeff",
    "W" * 4000,
    "e" + "\u0301" * 300 + " 👩‍👩‍👧‍👦 שלום",
)
LABEL = "<img src=x onerror=alert(9)>\u202ednuof eno oN"

WATCH = """
window.violations = [];
document.addEventListener('securitypolicyviolation', event => window.violations.push(event.violatedDirective));
window.addEventListener('error', event => window.violations.push(String(event.message)));
window.addEventListener('unhandledrejection', event => window.violations.push(String(event.reason)));
"""


@dataclass
class Console:
    """The open page, and the daemon that it shows."""

    stack: Stack
    browser: Browser

    async def enter(self, key: str = KEY) -> None:
        """Open it in a fresh tab's state, and give a key."""
        await self.browser.open(f"{self.stack.daemon.url}/console")
        await self.browser.run("sessionStorage.clear(); localStorage.clear()")
        await self.browser.open(f"{self.stack.daemon.url}/console")
        await self.browser.type("#key", key)
        await self.browser.click("#enter")

    async def shown(self, text: str, within: str = "body", *, seconds: float = 30.0) -> None:
        """Until a text is to be read there."""
        script = "return document.querySelector(arguments[0]).innerText.includes(arguments[1])"
        await self.browser.until(script, within, text, within_s=seconds)

    async def row(self, worker: str) -> dict[str, str]:
        """What the table says of a worker."""
        script = """
        const cells = document.querySelector(`[data-worker="${arguments[0]}"]`).closest('tr').children;
        return {state: cells[1].querySelector('.state-word').textContent, restarts: cells[2].innerText};
        """
        found: dict[str, str] = await self.browser.run(script, worker)
        return found

    async def confirm(self) -> None:
        """Say yes to what is asked."""
        await self.browser.until("return document.querySelector('#confirm').open")
        await self.browser.click("#confirm-yes")

    @contextmanager
    def administrator(self) -> Iterator[httpx.AsyncClient]:
        """A client of the API with the administrator's key."""
        yield httpx.AsyncClient(
            base_url=self.stack.daemon.url, headers={"Authorization": f"Bearer {KEY}"}, trust_env=False
        )


@pytest.fixture(scope="module")
async def opened(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Console]:
    """One daemon and one browser for all tests; the page is open with a right key."""
    folder = tmp_path_factory.mktemp("console")
    settings: dict[str, dict[str, object]] = {
        "testing": {"worker_faults": True},
        "http": {"gateway_token": KEY},
    }
    async with (
        start_browser(folder) as browser,
        start_stack(folder, channels=2, settings=settings) as stack,
    ):
        stack.daemon.start()
        await stack.daemon.wait_ready(caught_up=True)
        await browser.devtools("Page.addScriptToEvaluateOnNewDocument", source=WATCH)
        await browser.show(1440, 1000)
        page = Console(stack, browser)
        await page.enter()
        await page.browser.until("return document.querySelectorAll('#workers tr').length > 5")
        yield page


@pytest.fixture
async def console(opened: Console) -> AsyncIterator[Console]:
    """The open page; in the end it has neither broken its policy nor complained."""
    await opened.browser.console()
    yield opened
    assert await opened.browser.run("return window.violations") == []
    assert [entry["message"] for entry in await opened.browser.console()] == []


async def test_it_shows_each_worker_and_channel_and_says_that_all_is_well(console: Console) -> None:
    await console.shown("All is well", "#headline")
    running = await workers(console.stack.daemon.state_dir)
    names = await console.browser.run(
        "return [...document.querySelectorAll('#workers [data-worker]')].map(each => each.dataset.worker)"
    )
    assert {name.rpartition("/")[2] for name in names} >= running.keys()
    for channel in console.stack.channel_ids:
        await console.shown(str(channel), "#channels")
    await console.shown("caught up", "#way")
    assert await console.browser.run("return document.title") == "All is well · Telewarden"


async def test_a_post_is_shown_without_anybody_doing_anything(console: Console) -> None:
    await console.stack.control.post(console.stack.channel_ids[0], "BUY at 2651.40")
    await console.shown("BUY at 2651.40", "#messages", seconds=10)


async def test_a_consumer_is_shown_with_what_waits_for_it(console: Console) -> None:
    async with consumer(console.stack) as client:
        assert (await client.get("/v1/messages")).status_code == 200
        await console.stack.control.post(console.stack.channel_ids[0], "for the consumer")
        answer = await client.get("/v1/messages", params={"wait": "20"})
    assert [each["message"]["text"] for each in answer.json()["messages"]] == ["for the consumer"]
    await console.browser.until(
        "const cells = document.querySelector('#consumers tr').children;"
        "return cells[0].innerText === arguments[0] && cells[2].innerText === '1'",
        CONSUMER,
    )


async def test_a_worker_that_was_killed_is_seen_to_come_back_with_its_history(console: Console) -> None:
    assert (await console.row("upkeep"))["restarts"].strip() == "none"
    told = await ask(console.stack.daemon.state_dir, command="fault", worker="upkeep", kind="exception")
    assert told["ok"], told
    await console.browser.until(
        "const row = document.querySelector('[data-worker=upkeep]').closest('tr');"
        "return row.innerText.includes('running') && row.querySelector('[aria-expanded]')?.textContent === '1'"
    )
    await console.browser.click("#workers [aria-controls=history-upkeep]")
    await console.shown("upkeep was made to fail by a test", "#history-upkeep")
    await console.browser.click("#workers [aria-controls=history-upkeep]")
    assert await console.browser.run("return document.querySelector('#history-upkeep')") is None


async def test_a_worker_is_restarted_after_a_yes_and_not_before(console: Console) -> None:
    before = (await workers(console.stack.daemon.state_dir))["writer"]["restarts"]
    await console.browser.click('#workers [data-worker="writer"]')
    await console.shown("Restart writer?", "#confirm")
    assert await console.browser.run("return document.activeElement.id") == "confirm-no"
    await console.browser.press(ESCAPE)
    await console.browser.until("return !document.querySelector('#confirm').open")
    assert await console.browser.run("return document.activeElement.dataset.worker") == "writer"
    assert (await workers(console.stack.daemon.state_dir))["writer"]["restarts"] == before

    await console.browser.click('#workers [data-worker="writer"]')
    await console.confirm()
    await console.shown("writer is ready again, after ", "#outcomes")
    assert (await workers(console.stack.daemon.state_dir))["writer"]["restarts"] == before + 1


async def test_a_channel_is_paused_and_resumed(console: Console) -> None:
    channel = str(console.stack.channel_ids[1])
    button = f'#channels [data-channel="{channel}"]'

    async def is_active() -> bool:
        with console.administrator() as client:
            async with client:
                found = (await client.get("/v1/admin/channels")).json()["channels"]
        return bool(next(each["active"] for each in found if each["channel"] == channel))

    await console.browser.click(button)
    await console.confirm()
    await console.shown("is paused.", "#outcomes")
    assert not await is_active()
    await console.browser.until(f"return document.querySelector('{button}').innerText.startsWith('Resume')")
    await console.browser.click(button)
    await console.confirm()
    await console.shown("is taken in again.", "#outcomes")
    assert await is_active()


async def test_the_cache_is_warmed_by_a_job_that_is_followed_to_its_end(console: Console) -> None:
    await console.browser.click("#warm")
    await console.confirm()
    await console.shown("Warming the cache: done", "#outcomes")
    await console.shown("warm by gateway: done", "#jobs")


async def test_hostile_messages_and_labels_are_nothing_but_text(console: Console) -> None:
    first, second = console.stack.channel_ids
    await console.stack.control.post_many(first, HOSTILE)
    with console.administrator() as client:
        async with client:
            answer = await client.patch(f"/v1/admin/channels/{second}", json={"label": LABEL})
    assert answer.status_code == 200, answer.text
    await console.browser.until(
        "return document.querySelectorAll('#messages li').length >= arguments[0]"
        " && document.querySelector('#channels').innerText.includes('onerror')",
        len(HOSTILE),
    )
    for text in HOSTILE[:5]:
        await console.shown(text, "#messages")
    facts = await console.browser.run(
        """
        const inside = [...document.querySelectorAll('.message-text, #channels bdi, .from')];
        return {
          elements: inside.map(each => each.childElementCount).reduce((one, other) => one + other),
          made: document.querySelectorAll('main script, main img, main iframe, main a, main h1, main b').length,
          hit: window.hit ?? null,
          turned: inside.filter(each => /[\\u202a-\\u202e\\u2066-\\u2069\\u200b\\ufeff]/.test(each.textContent)).length,
          longest: Math.max(...inside.map(each => each.textContent.length)),
        };
        """
    )
    assert facts == {"elements": 0, "made": 0, "hit": None, "turned": 0, "longest": facts["longest"]}
    assert facts["longest"] < 1000
    await console.shown("price ⟨U+202E⟩0001 LLES⟨U+202C⟩ ⟨U+2067⟩now⟨U+2069⟩", "#messages")


@pytest.mark.parametrize("width", [360, 800, 1280, 1920])
async def test_the_page_never_scrolls_sideways(console: Console, width: int) -> None:
    await console.browser.show(width, 900)
    try:
        widest = await console.browser.run(
            """
            const room = document.documentElement.clientWidth;
            const cut = element => element.closest('.scroller, .unseen, .line, .outcomes, dialog, .skip');
            return [...document.querySelectorAll('body *')]
              .filter(each => each.getBoundingClientRect().right > room + 0.5 && !cut(each))
              .map(each => each.outerHTML.slice(0, 200))
              .concat(document.documentElement.scrollWidth > room ? ['the document'] : []);
            """
        )
    finally:
        await console.browser.show(1440, 1000)
    assert widest == []


async def test_it_can_be_read_aloud_and_used_by_keys(console: Console) -> None:
    found: dict[str, Any] = await console.browser.run(
        """
        const all = selector => [...document.querySelectorAll(selector)];
        const name = each => (each.getAttribute('aria-label') ?? each.textContent).trim();
        const ids = all('[id]').map(each => each.id);
        return {
          language: document.documentElement.lang,
          h1: all('h1').length,
          landmarks: ['header', 'main', 'section[aria-labelledby]'].map(each => all(each).length > 0),
          unlabelled: all('input').filter(each => each.labels.length === 0).map(each => each.id),
          nameless: all('button').filter(each => each.checkVisibility() && name(each) === '').length,
          pictures: all('img:not([alt])').length,
          tables: all('table').filter(each => !each.caption || each.querySelector('thead th:not([scope])')
            || each.querySelector('tbody tr:not(.none, .history-row) > :first-child:not(th[scope=row])')).length,
          twice: ids.filter((id, at) => ids.indexOf(id) !== at),
          pointing: ['aria-labelledby', 'aria-describedby', 'for', 'headers'].flatMap(name => all(`[${name}]`)
            .flatMap(each => each.getAttribute(name).split(' ')).filter(id => !document.getElementById(id))),
          talking: all('[aria-live=polite], [role=status], [role=log], [role=alert]').map(each => each.id),
          clickable: all('main [onclick], main div[tabindex]:not([role=region]), main span[tabindex]').length,
        };
        """
    )
    assert found == {
        "language": "en",
        "h1": 1,
        "landmarks": [True, True, True],
        "unlabelled": [],
        "nameless": 0,
        "pictures": 0,
        "tables": 0,
        "twice": [],
        "pointing": [],
        "talking": ["announcer", "entry-error", "outcomes"],
        "clickable": 0,
    }
    await console.browser.run(
        "document.activeElement.blur(); window.getSelection().removeAllRanges(); scrollTo(0, 0)"
    )
    await console.browser.open(f"{console.stack.daemon.url}/console")
    await console.browser.until("return document.querySelectorAll('#workers tr').length > 5")
    await console.browser.press(TAB)
    assert await console.browser.run("return document.activeElement.className") == "skip"
    outline = "const style = getComputedStyle(document.activeElement); return style.outlineStyle + style.outlineWidth"
    assert await console.browser.run(outline) == "solid2px"


async def test_what_is_told_aloud_changes_only_when_the_verdict_does(console: Console) -> None:
    await console.shown("All is well", "#headline")
    await console.browser.run(
        """
        window.told = 0;
        window.looks = 0;
        new MutationObserver(() => window.told += 1)
          .observe(document.querySelector('#announcer'), {childList: true, characterData: true, subtree: true});
        new MutationObserver(() => window.looks += 1)
          .observe(document.querySelector('#link-words'), {childList: true, characterData: true, subtree: true});
        """
    )
    await console.browser.until("return window.looks >= 3")
    assert await console.browser.run("return window.told") == 0


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_every_text_can_be_told_from_its_ground(console: Console, theme: str) -> None:
    await console.browser.click(f"#theme label:has([value={theme}])")
    assert await console.browser.run("return localStorage.getItem('telewarden-theme')") == theme
    pale = await console.browser.run(
        """
        const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
        const rgba = colour => {
          canvas.clearRect(0, 0, 1, 1);
          canvas.fillStyle = colour;
          canvas.fillRect(0, 0, 1, 1);
          return [...canvas.getImageData(0, 0, 1, 1).data];
        };
        const light = ([r, g, b]) => [r, g, b].map(each => each / 255)
          .map(each => each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4)
          .reduce((sum, each, at) => sum + each * [0.2126, 0.7152, 0.0722][at], 0);
        const ground = element => {
          for (let each = element; each; each = each.parentElement) {
            const colour = rgba(getComputedStyle(each).backgroundColor);
            if (colour[3] === 255) return colour;
          }
          return [255, 255, 255];
        };
        const texts = [...document.querySelectorAll('body *')].filter(each => each.checkVisibility()
          && [...each.childNodes].some(node => node.nodeType === 3 && node.data.trim() !== ''));
        return texts.map(each => {
          const [one, other] = [light(rgba(getComputedStyle(each).color)), light(ground(each))].sort((a, b) => b - a);
          return [(one + 0.05) / (other + 0.05), each.className || each.tagName, each.textContent.slice(0, 30)];
        }).filter(([ratio]) => ratio < 4.5);
        """
    )
    assert pale == []
    scheme = await console.browser.run("return getComputedStyle(document.documentElement).colorScheme")
    assert scheme == theme


async def test_events_are_read_however_the_stream_is_cut(console: Console) -> None:
    found = await console.browser.run(
        """
        const text = '\\ufeff: hello\\r\\n\\r\\nid: 7\\nevent: overview\\ndata: {"a":\\ndata:1}\\n\\nevent: lost\\n\\n'
          + 'data\\r\\rdata: b\\r\\n: c\\r\\nunknown: d\\r\\n\\r\\ndata: unfinished';
        return import('/console/sse.js').then(({EventParser}) => {
          const read = pieces => {
            const parser = new EventParser();
            return JSON.stringify(pieces.flatMap(piece => parser.push(piece)));
          };
          const whole = read([text]);
          const differing = [...text].map((_, at) => read([text.slice(0, at), text.slice(at)]))
            .concat(read([...text])).filter(each => each !== whole);
          return {whole: JSON.parse(whole), differing};
        });
        """
    )
    assert found["whole"] == [
        {"event": "overview", "data": '{"a":\n1}', "id": "7"},
        {"event": "message", "data": "", "id": "7"},
        {"event": "message", "data": "b", "id": "7"},
    ]
    assert found["differing"] == []


async def test_figures_are_written_as_people_read_them(console: Console) -> None:
    found = await console.browser.run(
        """
        return import('/console/format.js').then(format => JSON.parse(JSON.stringify({
          durations: [0, 0.4, 41.2, 192, 3600, 7500, 273600, null].map(format.duration),
          bytes: [0, 812, 4300, 268435456, null].map(format.bytes),
          milliseconds: [0.42, 18.3, 1200, null].map(format.milliseconds),
          figures: [0, 0.01, 0.44, 3.16, 119.7, null].map(format.figure),
          shares: [0, 0.0001, 0.998, 0.99999, 1, null].map(format.percent),
          ago: [0, 12000, 250000, 11000000, 200000000].map(format.ago),
        }).replaceAll('\\u00a0', ' ')));
        """
    )
    assert found == {
        "durations": ["0 s", "0.4 s", "41 s", "3 min 12 s", "1 h", "2 h 5 min", "3 d 4 h", "–"],
        "bytes": ["0 B", "812 B", "4.2 KiB", "256 MiB", "–"],
        "milliseconds": ["0.4 ms", "18 ms", "1.2 s", "–"],
        "figures": ["0", "<0.1", "0.4", "3.2", "120", "–"],
        "shares": ["0 %", "0.1 %", "99.8 %", "99.9 %", "100 %", "–"],
        "ago": ["now", "12 s ago", "4 min ago", "3 h ago", "2 d ago"],
    }


async def test_a_lost_connection_is_said_and_its_figures_are_marked_until_it_is_back(opened: Console) -> None:
    daemon, browser = opened.stack.daemon, opened.browser
    daemon.send(signal.SIGSTOP)  # the connection stands, and nothing comes
    await opened.shown("Not connected since ", "#headline")
    await opened.shown("The server has gone silent; trying again.", "#detail")
    assert await browser.run("return document.body.classList.contains('stale')")
    assert str(await browser.run("return document.title")).startswith("✖ Not connected since ")
    assert "Not connected" in await browser.run("return document.querySelector('#announcer').textContent")
    await browser.click('#workers [data-worker="writer"]')
    await opened.shown("There is no connection, so nothing was done.", "#outcomes")
    daemon.kill()
    await opened.shown("The server cannot be reached; trying again.", "#detail")
    daemon.start()
    with anyio.fail_after(60):
        await daemon.wait_ready()
        await browser.until("return document.querySelector('#link').dataset.state === 'good'")
    assert not await browser.run("return document.body.classList.contains('stale')")
    await opened.shown("live", "#link")


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("nobody-knows-this-key", "This key is not valid."),
        ("consumer", "it is not an admin key"),
        ("two words", "A key has no spaces"),
    ],
)
async def test_a_wrong_key_is_refused_in_clear_words_and_not_kept(
    opened: Console, key: str, words: str
) -> None:
    await opened.enter(opened.stack.daemon.api_key if key == "consumer" else key)
    await opened.shown(words, "#entry-error")
    facts = await opened.browser.run(
        "return [document.querySelector('#board').hidden, sessionStorage.length, localStorage.length, document.cookie]"
    )
    assert facts == [True, 0, 0, ""]


async def test_the_key_stays_in_this_tab_until_it_is_forgotten(opened: Console) -> None:
    await opened.enter()
    await opened.browser.until("return !document.querySelector('#board').hidden")
    stored = (
        "return [Object.values(sessionStorage), Object.values(localStorage), document.cookie, location.href]"
    )
    assert await opened.browser.run(stored) == [[KEY], [], "", f"{opened.stack.daemon.url}/console"]
    await opened.browser.open(f"{opened.stack.daemon.url}/console")
    await opened.browser.until("return document.querySelectorAll('#workers tr').length > 5")
    await opened.browser.click("#leave")
    await opened.shown("Admin key", "#entry")
    assert await opened.browser.run("return sessionStorage.length") == 0
