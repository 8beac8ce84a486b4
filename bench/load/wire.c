/* What the clients say and hear: templates, frames, markers. */
#define _GNU_SOURCE
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

uint64_t *in_room;

static uint64_t *last_number; /* [client that looks][publisher]: number of the latest message seen */

void start_wire_module(void) {
    last_number = calloc((size_t)options.publishers * (size_t)options.publishers, sizeof *last_number);
    in_room = calloc((size_t)options.rooms, sizeof *in_room);
    if (last_number == NULL || in_room == NULL) fail("memory", "none left");
}

/* Writing. */

/* A client has the rooms id, id + clients, id + 2 * clients ...: it joins one after the other, and talks in turn. */
int room_of(const struct client *c) {
    uint64_t turn = c->state == JOINING ? (uint64_t)c->joins_done : c->sent % (uint64_t)options.joins;
    return (int)(((uint64_t)(c - clients) + turn * (uint64_t)options.clients) % (uint64_t)options.rooms);
}

static void queue_frame(struct client *c, int opcode, const char *payload, size_t length) {
    static const uint8_t mask[4] = {0x37, 0xfa, 0x21, 0x3d};
    uint8_t *p = reserve(c, length + 8), *start = p;
    *p++ = (uint8_t)(0x80 | opcode);
    if (length < 126) {
        *p++ = (uint8_t)(0x80 | length);
    } else {
        *p++ = 0x80 | 126;
        *p++ = (uint8_t)(length >> 8);
        *p++ = (uint8_t)length;
    }
    memcpy(p, mask, 4);
    p += 4;
    for (size_t i = 0; i < length; i++) p[i] = (uint8_t)payload[i] ^ mask[i & 3];
    c->out_length += (size_t)(p - start) + length;
}

/* What people write is worth compressing, but not as much as a row of the same letter. */
static const char filler[] =
    " Shall we say half past six at the station? The train from the coast was late again yesterday, so bring a book, "
    "and an umbrella, for it looks like rain. I have the tickets, and Anna said she would wait for us on platform 4. ";

/* Fill a template: $T the text with its marker, $N a nonce, $I a number, $R the client's room; the
 * number never repeats for a client, the nonce not even for one of another generator. */
static size_t compose(struct client *c, const char *from, char *message) {
    int id = (int)(c - clients);
    char *p = message;
    for (const char *t = from; *t; t++) {
        if (t[0] == '$' && t[1] == 'T') {
            p += sprintf(p, "@p%05d.%08llu;", id, (unsigned long long)c->sent);
            size_t padding = options.message_bytes > MARKER_BYTES ? options.message_bytes - MARKER_BYTES : 0;
            for (size_t i = 0; i < padding; i++) *p++ = filler[i % (sizeof filler - 1)];
            t++;
        } else if (t[0] == '$' && t[1] == 'N') {
            p += sprintf(p, "%d-%d-%llu", (int)getpid(), id, (unsigned long long)c->sent);
            t++;
        } else if (t[0] == '$' && t[1] == 'I') {
            p += sprintf(p, "%llu", (unsigned long long)c->sent + 1000);
            t++;
        } else if (t[0] == '$' && t[1] == 'R') {
            p += sprintf(p, "%d", room_of(c));
            t++;
        } else {
            *p++ = *t;
        }
    }
    return (size_t)(p - message);
}

void queue_text(struct client *c, const char *from) {
    static char message[MESSAGE_BYTES_MAX + 2 * TEMPLATE_BYTES_MAX];
    queue_frame(c, 1, message, compose(c, from, message));
}

void queue_close(struct client *c) { queue_frame(c, 8, "\x03\xe8", 2); }

static void queue_message(struct client *c) {
    c->sent++;
    c->outstanding++;
    counts.sent++;
    in_room[room_of(c)]++;
    queue_text(c, options.template);
}

/* Send a message now, whatever is outstanding. */
void send_one(struct client *c) {
    queue_message(c);
    flush_out(c);
}

/* Closed loop: send as many as may be outstanding. */
void publish(struct client *c) {
    if (!sending || options.rate > 0 || !c->publishes || c->state != OPEN) return;
    if (c->outstanding >= options.outstanding) return;
    while (c->outstanding < options.outstanding) queue_message(c);
    flush_out(c);
}

/* Reading. */

/* Read `digits` decimal digits; -1 when there is anything else. */
static long long read_number(const uint8_t *p, int digits) {
    long long value = 0;
    for (int i = 0; i < digits; i++) {
        if (p[i] < '0' || p[i] > '9') return -1;
        value = value * 10 + (p[i] - '0');
    }
    return value;
}

static int holds(const uint8_t *payload, size_t length, const char *text) {
    return memmem(payload, length, text, strlen(text)) != NULL;
}

/* Is it the next one of its publisher? */
static void check_order(struct client *c, long long publisher, long long number) {
    uint64_t *last = &last_number[(c - clients) * options.publishers + publisher];
    if ((uint64_t)number != *last + 1) counts.disordered++;
    *last = (uint64_t)number;
    if (publisher == c - clients) c->outstanding--;
}

static void read_marker(struct client *c, const uint8_t *payload, size_t length) {
    const uint8_t *marker = memmem(payload, length, "@p", 2);
    long long publisher = -1, number = -1;
    if (marker != NULL && marker + MARKER_BYTES <= payload + length) {
        publisher = read_number(marker + 2, 5);
        number = read_number(marker + 8, 8);
    }
    if (publisher < 0 || publisher >= options.publishers || number < 0) {
        counts.disordered++;
        return;
    }
    if (c->publishes) check_order(c, publisher, number);
    if (options.rate > 0) on_paced_delivery((int)publisher, (uint64_t)number);
}

/* A short message on a client that publishes is an acknowledgement or a refusal. */
static void check_answer(struct client *c, const uint8_t *payload, size_t length) {
    if (options.answer_marker != NULL && holds(payload, length, options.answer_marker)) c->acknowledged++;
    if (!holds(payload, length, "\"error\"")) return;
    if (counts.refused++ == 0) fprintf(stderr, "generator: refused: %.*s\n", (int)length, (const char *)payload);
}

/* Joining, and leaving again. */

static void is_in(struct client *c) {
    if (publishing && options.mode == CHURN) { /* the first time it stays until all are in */
        if (options.leave_text == NULL) {
            c->state = CLOSING;
            queue_close(c);
        } else {
            c->state = LEAVING;
            queue_text(c, options.leave_text);
        }
        flush_out(c);
        return;
    }
    c->state = OPEN;
    opened++;
}

static void join(struct client *c) {
    c->state = JOINING; /* who says nothing waits for being greeted */
    if (options.join_text == NULL) return;
    queue_text(c, options.join_text);
    flush_out(c);
}

static void count_items(const uint8_t *payload, size_t length) {
    size_t item = strlen(options.items);
    unsigned found = 0;
    for (const uint8_t *p = payload; (p = memmem(p, length - (size_t)(p - payload), options.items, item)) != NULL; p += item)
        found++;
    counts.items += found;
    if (found != options.items_each) counts.items_wrong++;
}

static void on_join_answer(struct client *c, const uint8_t *payload, size_t length) {
    if (!holds(payload, length, options.join_marker)) {
        if (!holds(payload, length, "\"error\"")) return;
        char text[200];
        snprintf(text, sizeof text, "%.*s", (int)length, (const char *)payload);
        fail("a client was not let in", text);
    }
    if (options.items != NULL) count_items(payload, length);
    if (++c->joins_done < options.joins) join(c);
    else is_in(c);
}

static void on_message(struct client *c, const uint8_t *payload, size_t length) {
    if (c->state == JOINING) {
        on_join_answer(c, payload, length);
    } else if (c->state == LEAVING) {
        if (!holds(payload, length, options.leave_marker)) return;
        c->state = CLOSING;
        queue_close(c);
        flush_out(c);
    } else if (publishing && length < options.message_bytes) { /* not what was published */
        if (c->publishes) check_answer(c, payload, length);
    } else if (publishing) {
        int looks = c->publishes || options.rate > 0; /* the others count alone, as looking takes time */
        if (looks && options.ignored != NULL && holds(payload, length, options.ignored)) return;
        c->received++;
        counts.received++;
        if (looks) read_marker(c, payload, length);
    }
}

/* Of compressed messages those are inflated that are to be looked at; the others count as what they must be. */
static void on_compressed(struct client *c, const uint8_t *payload, size_t length) {
    if (c->state == OPEN && publishing && !c->publishes && options.rate == 0) {
        c->received++;
        counts.received++;
        return;
    }
    const uint8_t *message = inflated(payload, length, &length);
    on_message(c, message, length);
}

static void on_close(struct client *c, const uint8_t *payload, size_t length) {
    c->close_code = length >= 2 ? payload[0] << 8 | payload[1] : 1005;
    if (c->state == CLOSING) counts.cycles++;
    drop(c);
}

/* Parse complete frames; returns how many bytes they had. */
size_t parse(struct client *c, const uint8_t *p, size_t n) {
    size_t at = 0;
    while (n - at >= 2 && c->state != CLOSED && c->state != CONNECTING) {
        size_t length = p[at + 1], head = 2;
        if (length & 0x80) fail("protocol", "the server masked a frame");
        if (length == 126) {
            if (n - at < 4) break;
            length = (size_t)p[at + 2] << 8 | p[at + 3];
            head = 4;
        } else if (length == 127) {
            if (n - at < 10) break;
            length = 0;
            for (int i = 2; i < 10; i++) length = length << 8 | p[at + (size_t)i];
            head = 10;
        }
        if (n - at < head + length) break;
        const uint8_t *payload = p + at + head;
        int opcode = p[at] & 15;
        if (opcode <= 2) {
            if (!(p[at] & 0x80)) fail("protocol", "the server sends fragments");
            if (p[at] & 0x40) on_compressed(c, payload, length);
            else on_message(c, payload, length);
        } else if (opcode == 8) {
            on_close(c, payload, length);
        } else if (opcode == 9) {
            queue_frame(c, 10, (const char *)payload, length);
            flush_out(c);
        }
        at += head + length;
    }
    return at;
}

size_t parse_answer(struct client *c, const uint8_t *p, size_t n) {
    const uint8_t *end = memmem(p, n, "\r\n\r\n", 4);
    if (end == NULL) return 0;
    if (n < 12 || memcmp(p, "HTTP/1.1 101", 12) != 0) {
        char line[200];
        snprintf(line, sizeof line, "%.*s", (int)(strcspn((const char *)p, "\r")), (const char *)p);
        fail("a client was turned away", line);
    }
    size_t head = (size_t)(end - p) + 4;
    if (options.compress && memmem(p, head, "permessage-deflate", 18) == NULL)
        fail("compression", "the server does not agree on it");
    c->state = OPEN; /* for now: a client without a room is in */
    if (options.join_marker == NULL) is_in(c);
    else join(c);
    return head + parse(c, p + head, n - head);
}
