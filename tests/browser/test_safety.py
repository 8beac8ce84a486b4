"""Hostile text stays text, and the page obeys a strict content policy."""

from __future__ import annotations

import httpx
import pytest
from playwright.async_api import expect

from tests.browser.people import People
from tests.support.server import Server

HOSTILE = [
    "<script>window.hurt = 1</script>",
    "<img src=x onerror='window.hurt = 1'>",
    "<svg/onload=window.hurt=1>",
    "\"><iframe srcdoc='<script>parent.hurt=1</script>'>",
    "javascript:window.hurt=1",
    "[x](javascript:window.hurt=1)",
    "<a href='javascript:window.hurt=1'>x</a>",
    "{{constructor.constructor('window.hurt=1')()}}",
    "${window.hurt=1}",
    "<style>* { display: none }</style>",
    "&lt;b&gt; &amp; &#x3c;",
    "'; DROP TABLE chat_messages; --",
]


async def test_hostile_messages_are_inert(people: People) -> None:
    """Markup, scripts and template syntax stand there as they were written, and make no element and no link."""
    ann = await people.person("Ann")
    await ann.create_room("Lobby")
    ben = await people.person("Ben", "lobby")
    await ben.join("Lobby")
    for text in HOSTILE:
        await ann.say(text)
    for person in (ann, ben):
        await person.sees(*HOSTILE)
        assert await person.page.evaluate("window.hurt") is None
        assert await person.page.locator("#message-list :is(script, img, iframe, style, a, b)").count() == 0


async def test_hostile_names_and_titles_are_inert(people: People) -> None:
    """A person, a room and a topic may be called like markup; they are shown as written, everywhere."""
    name, title, topic = "<b onclick=hurt=1>Eve</b>", "<img src=x onerror=hurt=1>", "<u>topic</u>"
    eve = await people.person(name)
    await eve.create_room(title, topic)
    ann = await people.person("Ann", "img-src-x-onerror-hurt-1")
    await expect(ann.page.get_by_role("heading", level=2, name=title)).to_be_visible()
    await ann.join(title)
    await expect(ann.page.locator("#room-topic")).to_have_text(topic)
    await expect(ann.page.locator("#people-list .person-name")).to_have_text(["Ann", name])
    await eve.box.press_sequentially("hello")
    await expect(ann.page.locator("#typing")).to_contain_text(name)
    await eve.box.press("Enter")
    await expect(ann.page.locator(".author")).to_have_text([name])
    assert await ann.page.evaluate("window.hurt") is None
    assert await ann.page.locator("#app :is(b, u):not(svg *)").count() == 0


async def test_only_web_addresses_become_links(people: People) -> None:
    """http and https addresses are links that give nothing away to the page they lead to."""
    ann = await people.person("Ann")
    await ann.create_room("Lobby")
    await ann.say("see https://example.org/a?b=c and ftp://example.org or https://bank.example@evil.example")
    link = ann.page.locator("#message-list a")
    await expect(link).to_have_count(1)
    await expect(link).to_have_attribute("href", "https://example.org/a?b=c")
    await expect(link).to_have_attribute("rel", "noopener noreferrer")
    await expect(link).to_have_attribute("target", "_blank")


async def test_text_cannot_turn_its_surroundings_around(people: People) -> None:
    """Right-to-left and override characters in a message change neither the layout nor the name beside it."""
    ann = await people.person("Ann")
    await ann.create_room("Lobby")
    ben = await people.person("Ben", "lobby")
    await ben.join("Lobby")
    await ann.say("plain")
    place = "element => { const { left, width } = element.getBoundingClientRect(); return [left, width]; }"
    before = await ben.page.locator(".author").evaluate(place)
    await ann.say("\u202eevil\u2066 שלום")
    await expect(ben.messages).to_have_count(2)
    assert await ben.page.locator(".author").evaluate(place) == before
    isolation = "element => getComputedStyle(element).unicodeBidi"
    assert await ben.messages.last.evaluate(isolation) in ("plaintext", "isolate")
    assert await ben.page.locator(".author").evaluate(isolation) == "isolate"


@pytest.mark.parametrize("path", ["/", "/main.js", "/css/base.css", "/health"])
async def test_the_policy_is_strict(server: Server, path: str) -> None:
    """Every answer forbids inline scripts and styles, frames and foreign sources."""
    async with httpx.AsyncClient() as client:
        policy = (await client.get(server.url + path)).headers["content-security-policy"]
    rules = {rule.split()[0]: rule.split()[1:] for rule in policy.split(";")}
    assert rules["default-src"] == ["'none'"]
    assert rules["script-src"] == ["'self'"]
    assert rules["style-src"] == ["'self'"]
    assert rules["frame-ancestors"] == ["'none'"]
    assert rules["base-uri"] == ["'none'"]


async def test_injected_code_would_not_run(people: People) -> None:
    """Should markup ever get in, the browser refuses to run it: the policy is in force in the page."""
    ann = await people.person("Ann")
    ann.watch.expect("Content Security Policy")
    await ann.page.evaluate(
        """() => {
          const script = document.createElement("script");
          script.textContent = "window.hurt = 1";
          document.body.append(script);
          const box = document.createElement("div");
          box.setAttribute("onclick", "window.hurt = 1");
          document.body.append(box);
          box.click();
        }"""
    )
    assert await ann.page.evaluate("window.hurt") is None
    assert any("Content Security Policy" in problem for problem in ann.watch.problems)
