"""People who use the chat in a browser, as the tests speak of them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from playwright.async_api import Browser, BrowserContext, Locator, Page, expect

from tests.support.browser import DEADLINE_MS, SCREENSHOTS, Watch
from tests.support.server import Server

expect.set_options(timeout=DEADLINE_MS)


class Person:
    """Somebody with a page of their own; another tab of theirs is another `Person` of the same context.

    Args:
        page: the page.
        server: where it goes.
    """

    def __init__(self, page: Page, server: Server) -> None:
        self.page = page
        self.server = server
        self.watch = Watch(page)

    # What is on the screen.

    @property
    def box(self) -> Locator:
        """Where they write."""
        return self.page.locator("#message-box")

    @property
    def messages(self) -> Locator:
        """The texts of the messages on screen, in order, those on their way included."""
        return self.page.locator("#message-list .text")

    @property
    def pending(self) -> Locator:
        """The messages that are on their way."""
        return self.page.locator("#message-list .message.pending")

    @property
    def banner(self) -> Locator:
        """What the page says about the connection; hidden when all is well."""
        return self.page.locator("#banner")

    @property
    def name_dialog(self) -> Locator:
        """The dialog that asks who one is."""
        return self.page.locator("dialog#sign-in")

    def room_link(self, title: str) -> Locator:
        """A room in the list."""
        return self.page.get_by_role("navigation", name="Rooms").get_by_role("link", name=title)

    # What they do.

    async def open(self, room: str = "") -> None:
        """Open the page, at a room where one is given."""
        await self.page.goto(f"{self.server.url}/{f'#{room}' if room else ''}")

    async def come_in(self, name: str, room: str = "") -> None:
        """Open the page and come in as a guest."""
        await self.open(room)
        await self.page.get_by_label("Your name").fill(name)
        await self.page.get_by_role("button", name="Come in", exact=True).click()
        await expect(self.name_dialog).to_be_hidden()
        await self.connected()

    async def connected(self) -> None:
        """Wait until there is nothing to say about the connection."""
        await expect(self.page.locator("body[data-phase='ready']")).to_be_visible()
        await expect(self.banner).to_be_hidden()

    async def create_room(self, title: str, topic: str = "", *, private: bool = False) -> None:
        """Make a room; it is open afterwards."""
        await self.ask_for_a_room()
        await self.page.get_by_label("What is it called?").fill(title)
        await self.page.get_by_label("What is it about?").fill(topic)
        if private:
            await self.page.get_by_label("Only members").check()
        await self.page.get_by_role("button", name="Make the room").click()
        await self.in_room(title)

    async def ask_for_a_room(self) -> None:
        """Open the dialog for a new room; on a narrow screen its button is in the drawer."""
        drawer = self.page.get_by_role("button", name="Rooms", exact=True)
        if await drawer.is_visible():
            await drawer.click()
            await expect(self.page.locator("#rooms-pane")).to_be_in_viewport()
        await self.page.get_by_role("navigation").get_by_role("button", name="New room").click()

    async def join(self, title: str) -> None:
        """Join the public room whose address is open."""
        await self.page.get_by_role("button", name="Join this room").click()
        await self.in_room(title)

    async def go(self, title: str) -> None:
        """Open a room of theirs."""
        await self.room_link(title).click()
        await self.in_room(title)

    async def in_room(self, title: str) -> None:
        """Wait until a room is open."""
        await expect(self.page.get_by_role("heading", level=1, name=title)).to_be_visible()
        await expect(self.box).to_be_visible()

    async def write(self, text: str) -> None:
        """Write a message and press Enter, whether it can be sent now or not."""
        await self.box.fill(text)
        await self.box.press("Enter")
        await expect(self.box).to_have_value("")

    async def say(self, text: str) -> None:
        """Write a message and wait until it is acknowledged."""
        await self.write(text)
        await expect(self.messages.filter(has_text=text).last).to_be_visible()
        await expect(self.pending).to_have_count(0)

    async def sees(self, *texts: str) -> None:
        """Check that the room on screen has exactly these messages, acknowledged, in this order."""
        await expect(self.messages).to_have_text(list(texts))
        await expect(self.pending).to_have_count(0)

    async def picture(self, name: str) -> None:
        """Keep a screenshot for those who want to look."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        await self.page.screenshot(path=SCREENSHOTS / f"{name}.png", animations="disabled")


class People:
    """Makes people, and checks at the end that nothing went wrong in any of their pages.

    Args:
        browser: where they live.
        server: where they go.
    """

    def __init__(self, browser: Browser, server: Server) -> None:
        self._browser = browser
        self.server = server
        self._everybody: list[Person] = []
        self._contexts: list[BrowserContext] = []

    async def person(self, name: str = "", room: str = "", **context: Any) -> Person:
        """Return somebody new, who has come in when a name is given.

        Args:
            name: how they call themselves.
            room: the room whose address they open.
            context: options of playwright's `new_context`.
        """
        made = await self._browser.new_context(**context)
        self._contexts.append(made)
        person = await self._add(made)
        if name:
            await person.come_in(name, room)
        return person

    async def another_tab(self, person: Person) -> Person:
        """Return a second tab of somebody."""
        return await self._add(person.page.context)

    def expect_lost_connections(self) -> None:
        """The server is going away: let the browser say that it cannot be reached."""
        for person in self._everybody:
            person.watch.expect("WebSocket connection to")
            person.watch.expect("net::ERR_")

    async def _add(self, context: BrowserContext) -> Person:
        person = Person(await context.new_page(), self.server)
        self._everybody.append(person)
        return person

    async def close(self) -> None:
        for context in self._contexts:
            await context.close()

    def check(self) -> None:
        for person in self._everybody:
            person.watch.check()


@contextlib.asynccontextmanager
async def people_at(browser: Browser, server: Server) -> AsyncIterator[People]:
    """Let people come to a server for the length of a block; when it ends well, their pages were clean."""
    people = People(browser, server)
    try:
        yield people
        people.check()
    finally:
        await people.close()
