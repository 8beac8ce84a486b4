"""Long rooms: older pages, staying in place, staying at the end, staying fast."""

from __future__ import annotations

from playwright.async_api import expect

from tests.browser.people import People, Person
from tests.browser.wire import Peer

MANY = 1200
MOST_ROWS = 400
"""Rows that the page may hold at most, day lines and dividers included."""

VIEW = """() => {
  const top = document.getElementById("messages").getBoundingClientRect().top;
  const rows = [...document.querySelectorAll("#message-list [data-seq]")];
  const row = rows.find((candidate) => candidate.getBoundingClientRect().top >= top);
  return [row.dataset.seq, row.getBoundingClientRect().top, Number(rows[0].dataset.seq)];
}"""
"""The first message in view, where it is on the screen, and the oldest one in the page."""
PLACE = "seq => document.querySelector(`[data-seq='${seq}']`).getBoundingClientRect().top"


async def full_room(people: People, count: int) -> tuple[Person, Peer]:
    """Return somebody in a room with many messages, and the one who wrote them."""
    peer = await Peer.come_in(people.server, "Cy")
    async with peer:
        await peer.call("rooms.create", room="lobby", title="Lobby")
        await peer.call("rooms.join", room="lobby")
        await peer.send_many("lobby", [f"message {n}" for n in range(count)])
    ann = await people.person("Ann", "lobby")
    await ann.join("Lobby")
    return ann, peer


async def scroll_up(person: Person) -> None:
    await person.page.locator("#messages").evaluate("element => { element.scrollTop = 0; }")


async def at_end(person: Person) -> bool:
    distance = "element => element.scrollHeight - element.clientHeight - element.scrollTop"
    return float(await person.page.locator("#messages").evaluate(distance)) < 2


async def test_the_whole_history_can_be_read_upwards(people: People) -> None:
    """Scrolling up brings every message down to the first, each once and in order, with a bounded page."""
    ann, _ = await full_room(people, MANY)
    await scroll_up(ann)
    seen: list[int] = []
    first = ann.page.locator("#message-list .text", has_text="message 0").first
    while not await first.is_visible():
        numbers = [int(text.split()[1]) for text in await ann.messages.all_text_contents()]
        assert numbers == list(range(numbers[0], numbers[-1] + 1))
        assert await ann.page.locator("#message-list > li").count() <= MOST_ROWS
        seen.extend(numbers)
        await scroll_up(ann)
        await ann.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    numbers = [int(text.split()[1]) for text in await ann.messages.all_text_contents()]
    assert numbers == list(range(numbers[-1] + 1))
    assert set(seen) | set(numbers) >= set(range(MANY - 50))
    await expect(ann.page.get_by_text("This is where Lobby begins.")).to_be_visible()


async def test_older_messages_do_not_move_what_is_read(people: People) -> None:
    """While a page is put above, the message in view stays where it is on the screen."""
    ann, _ = await full_room(people, 300)
    await ann.page.locator("#messages").evaluate("element => { element.scrollTop = 120; }")
    seq, before, oldest = await ann.page.evaluate(VIEW)
    await ann.page.wait_for_function(
        "oldest => Number(document.querySelector('#message-list [data-seq]').dataset.seq) < oldest", arg=oldest
    )
    assert abs(await ann.page.evaluate(PLACE, seq) - before) <= 1


async def test_the_end_stays_in_view_while_one_is_there(people: People) -> None:
    """At the end, new messages scroll into view, also very long ones and while the box grows."""
    ann, peer = await full_room(people, 60)
    assert await at_end(ann)
    async with peer:
        await peer.call("rooms.join", room="lobby")
        await peer.send_many("lobby", ["long\n" * 60, "last"])
    await expect(ann.messages.last).to_have_text("last")
    assert await at_end(ann)
    await ann.box.fill("one\n" * 8)
    await expect(ann.messages.last).to_be_in_viewport(ratio=1)


async def test_reading_above_is_not_disturbed(people: People) -> None:
    """Further up, new messages do not move the view; a button counts them and leads to the end."""
    ann, peer = await full_room(people, 120)
    scroller = ann.page.locator("#messages")
    await scroller.evaluate("element => { element.scrollTop = element.scrollHeight - 2 * element.clientHeight; }")
    button = ann.page.locator("#jump-button")
    await expect(button).to_have_text("Newest")
    seq, before, _ = await ann.page.evaluate(VIEW)
    async with peer:
        await peer.call("rooms.join", room="lobby")
        await peer.send_many("lobby", ["new 1", "new 2"])
    await expect(button).to_have_text("2 new messages")
    assert abs(await ann.page.evaluate(PLACE, seq) - before) <= 1
    await expect(ann.page).to_have_title("(2) Lobby · Switchboard")
    await button.click()
    await expect(ann.messages.last).to_be_in_viewport()
    await expect(button).to_be_hidden()
    await expect(ann.page).to_have_title("Lobby · Switchboard")


async def test_thousands_of_live_messages_keep_the_page_small(people: People) -> None:
    """A flood at the end leaves a bounded page that shows the last message."""
    ann, peer = await full_room(people, 10)
    async with peer:
        await peer.call("rooms.join", room="lobby")
        await peer.send_many("lobby", [f"flood {n}" for n in range(3000)])
    await expect(ann.messages.last).to_have_text("flood 2999")
    assert await ann.page.locator("#message-list > li").count() <= MOST_ROWS
    assert await at_end(ann)
    await ann.say("still quick")
