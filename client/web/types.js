// @ts-check
/**
 * What crosses the wire, in the words of the contract. This file holds types only.
 *
 * @typedef {{id: number, name: string}} User
 * @typedef {User & {role: string}} Me
 *
 * @typedef {object} Room
 * @property {string} room its immutable short name
 * @property {string} title
 * @property {string} topic
 * @property {"public" | "private" | "direct"} visibility
 * @property {number} present how many people are there now
 * @property {number} last_rev
 * @property {number} read_seq up to where this account has read
 * @property {string | null} role null: not a member
 *
 * @typedef {object} Message
 * @property {string} room
 * @property {number} seq its place in the room, for ever
 * @property {number} rev the event that last touched it
 * @property {User} user
 * @property {string | null} text null when deleted
 * @property {string} sent_at RFC 3339, UTC
 * @property {string | null} [edited_at]
 * @property {boolean} [deleted]
 *
 * @typedef {object} Welcome
 * @property {Me} user
 * @property {{message_chars?: number}} [limits]
 * @property {{min_seconds: number, max_seconds: number}} [reconnect]
 *
 * @typedef {{room: Room, present: User[], messages: Message[], last_rev: number, complete: boolean}} JoinResult
 * @typedef {{messages: Message[], more: boolean}} HistoryResult
 * @typedef {{seq: number, rev: number, sent_at: string}} SendResult
 */

export {};
