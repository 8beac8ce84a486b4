// @ts-check
import { Chat } from "./chat.js";
import { Connection } from "./connection.js";
import { Drafts } from "./drafts.js";
import { Disconnected, RpcError, explain } from "./errors.js";
import { placeIcons } from "./icons.js";
import { Outbox } from "./outbox.js";
import { goTo, onAddress, roomInAddress } from "./router.js";
import { logOut } from "./session.js";
import { Local } from "./storage.js";
import { Store } from "./store.js";
import { themeButton } from "./theme.js";
import { byId } from "./dom.js";
import { AccountView } from "./views/account.js";
import { BannerView } from "./views/banner.js";
import { ComposerView } from "./views/composer.js";
import { CreateRoomDialog } from "./views/create-room.js";
import { LogOutDialog } from "./views/log-out.js";
import { MessagesView } from "./views/messages.js";
import { Panes } from "./views/panes.js";
import { PeopleView } from "./views/people.js";
import { RoomView } from "./views/room.js";
import { RoomsView } from "./views/rooms.js";
import { SignInDialog } from "./views/sign-in.js";
import { Toasts } from "./views/toasts.js";
import { TitleView } from "./views/title.js";

/** @import { ConnectionState } from "./connection.js" */
/** @import { Welcome } from "./types.js" */

const SERVICE = "chat";

/** Puts the parts together, and carries what happens from one to the other. */
export class App {
  local = new Local();
  store = new Store();
  drafts = new Drafts(this.local);
  /** Of the person who is here. @type {Outbox | null} */
  outbox = null;
  /** What is on the wire, and the room's rev when it went out. @type {{nonce: string, after: number} | null} */
  sending = null;

  connection = new Connection(serviceUrl(SERVICE), {
    onState: (state) => this.#onState(state),
    onWelcome: (welcome) => void this.#onWelcome(welcome),
    onNotification: (method, params) => this.chat.handle(method, params),
    probe: () => this.chat.probe(),
  });
  chat = new Chat(this.store, this.connection);

  toasts = new Toasts(byId("toasts", HTMLElement));
  panes = new Panes(this.store);
  banner = new BannerView(() => this.connection.connect());
  room = new RoomView(this);
  messages = new MessagesView(this);
  composer = new ComposerView(this);
  signIn = new SignInDialog(() => this.connection.connect(), this.local);
  createRoom = new CreateRoomDialog(this);
  logOutDialog = new LogOutDialog(() => this.#logOut());

  start() {
    placeIcons(document);
    new RoomsView(this);
    new PeopleView(this.store);
    new AccountView(this);
    new TitleView(this.store);
    themeButton(byId("theme", HTMLButtonElement), this.local);
    this.chat.onNotice = (text) => this.toasts.show(text);
    onAddress(() => this.#onAddress());
    this.#onAddress();
    this.connection.connect();
  }

  /** @param {ConnectionState} state */
  #onState(state) {
    this.banner.show(state);
    if (state.phase !== "open") this.outbox?.pause();
    if (state.phase === "signed-out") this.signIn.open();
    this.messages.invalidate();
  }

  /** @param {Welcome} welcome */
  async #onWelcome({ user, limits }) {
    if (this.signIn.close()) this.composer.focus();
    this.store.messageChars = limits?.message_chars ?? 0;
    if (this.store.me?.id !== user.id) this.#moveIn(user.id);
    this.store.setMe(user);
    document.body.dataset["phase"] = "ready";
    try {
      await this.chat.catchUp();
    } catch (error) {
      if (!(error instanceof Disconnected)) this.fail(error);
      return;
    }
    if (this.store.current === null) this.#goHome();
    this.outbox?.resume();
  }

  /** Somebody is here now: their outbox takes over. @param {number} userId */
  #moveIn(userId) {
    this.outbox?.close();
    this.outbox = new Outbox(userId, this.local, {
      send: (entry) => {
        this.sending = { nonce: entry.nonce, after: this.store.room(entry.room)?.rev ?? 0 };
        return this.chat.send(entry);
      },
      onAcknowledged: ({ room, text }, result) => {
        this.sending = null;
        this.store.acknowledge(room, text, result);
      },
      onChange: () => this.messages.invalidate(),
    });
  }

  /** Open the room where this person was last, if it is still theirs. A newcomer without a choice need not make one. */
  #goHome() {
    const { rooms } = this.store;
    const last = this.local.get(`last-room.${this.store.me?.id}`);
    const [only] = rooms;
    if (this.store.room(last)?.info.role) goTo(last, { replace: true });
    else if (only && rooms.length === 1 && last === null) void this.join(only.info.room);
  }

  #onAddress() {
    const room = roomInAddress();
    this.store.setCurrent(room);
    if (room !== null && this.store.me) this.local.remember(`last-room.${this.store.me.id}`, room);
  }

  async #logOut() {
    try {
      await logOut();
    } catch (error) {
      return this.fail(error);
    }
    const me = this.store.me;
    if (me) this.drafts.clear(me.id);
    this.outbox?.clear();
    this.outbox?.close();
    this.outbox = null;
    this.store.setMe(null);
    goTo(null, { replace: true });
    this.connection.connect(); // answers 4401, which opens the name dialog
  }

  /** Write a message: it is on its way as soon as there is a connection. @param {string} room @param {string} text */
  send(room, text) {
    try {
      this.outbox?.add(room, text);
    } catch {
      this.toasts.alert("This browser has no room left to keep the message. Delete some of its stored data.");
      return false;
    }
    this.messages.stick();
    return this.outbox !== null;
  }

  /** Join a public room and open it. @param {string} room */
  async join(room) {
    try {
      await this.chat.join(room);
    } catch (error) {
      return this.fail(error);
    }
    if (this.store.current !== room) goTo(room);
  }

  /** @param {string} room */
  async leave(room) {
    const title = this.store.room(room)?.info.title ?? room;
    try {
      await this.chat.leave(room);
    } catch (error) {
      return this.fail(error);
    }
    if (this.store.current === room) goTo(null);
    this.toasts.show(`You left ${title}.`, { label: "Join again", run: () => void this.join(room) });
  }

  /** Say what went wrong. @param {unknown} error */
  fail(error) {
    if (!(error instanceof RpcError || error instanceof Disconnected)) console.error(error);
    this.toasts.alert(explain(error));
  }
}

/** @param {string} service */
function serviceUrl(service) {
  const url = new URL(service, location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.hash = "";
  return url.href;
}
