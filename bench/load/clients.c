/* The sockets: connecting, reading, writing, and the loop that does it. */
#define _GNU_SOURCE
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { EVENTS = 512 };

int opened;
double last_byte;

static int epoll_fd, next_client;
static int timer_fd;
static uint8_t *buffer;
static void (*when_due)(void);

void start_clients_module(void) {
    buffer = allocate(NULL, READ_BYTES);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0) fail("epoll_create1", strerror(errno));
}

/* The timer: one, known to epoll by the address of its descriptor. */

int add_timer(void (*on_timer)(void)) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &timer_fd};
    timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    when_due = on_timer;
    if (timer_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, timer_fd, &event) < 0) fail("timer", strerror(errno));
    return timer_fd;
}

void set_timer(int fd, double due) {
    struct itimerspec at = {.it_value = {(time_t)due, (long)((due - (double)(time_t)due) * 1e9)}};
    if (timerfd_settime(fd, TFD_TIMER_ABSTIME, &at, NULL) < 0) fail("timerfd_settime", strerror(errno));
}

/* Writing. */

/* Without interest a socket is taken out altogether, as epoll tells of errors whatever it is asked for. */
void watch(struct client *c, int interest) {
    if (c->interest == interest) return;
    struct epoll_event event = {.events = (uint32_t)interest, .data.ptr = c};
    int change = interest == 0 ? EPOLL_CTL_DEL : c->interest == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    c->interest = interest;
    if (epoll_ctl(epoll_fd, change, c->fd, &event) < 0) fail("epoll_ctl", strerror(errno));
}

uint8_t *reserve(struct client *c, size_t bytes) {
    if (c->out_length + bytes > c->out_capacity) {
        c->out_capacity = 2 * (c->out_length + bytes);
        c->out = allocate(c->out, c->out_capacity);
    }
    return c->out + c->out_length;
}

void flush_out(struct client *c) {
    size_t done = 0;
    while (done < c->out_length) {
        ssize_t n = send(c->fd, c->out + done, c->out_length - done, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno == EAGAIN || errno == EINTR) break;
            drop(c);
            return;
        }
        done += (size_t)n;
    }
    c->out_length -= done;
    if (c->out_length > 0) memmove(c->out, c->out + done, c->out_length);
    if (c->interest != 0) watch(c, EPOLLIN | (c->out_length > 0 ? EPOLLOUT : 0));
}

/* Connecting. */

static void start_client(struct client *c) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options.port)};
    if (inet_pton(AF_INET, options.host, &address.sin_addr) != 1) fail("host", "not an IPv4 address");
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) fail("socket", strerror(errno));
    int one = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS)
        fail("connect", strerror(errno));
    c->state = CONNECTING;
    c->interest = EPOLLIN | EPOLLOUT;
    c->joins_done = c->close_code = 0;
    c->out_length = c->tail_length = 0;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event) < 0) fail("epoll_ctl", strerror(errno));
}

static void on_connected(struct client *c) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) fail("connect", strerror(error));
    const char *extra = options.header_count ? options.headers[(size_t)(c - clients) % options.header_count] : "";
    const char *compress = options.compress ? "Sec-WebSocket-Extensions: permessage-deflate; "
                                              "client_no_context_takeover; server_no_context_takeover\r\n"
                                            : "";
    size_t most = strlen(options.path) + strlen(options.host) + strlen(extra) + strlen(compress) + 256;
    char *request = (char *)reserve(c, most);
    c->out_length += (size_t)snprintf(request, most,
                                      "GET %s HTTP/1.1\r\nHost: %s:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
                                      "%s%s%s\r\n",
                                      options.path, options.host, options.port, compress, extra, *extra ? "\r\n" : "");
    c->state = HANDSHAKE;
    flush_out(c);
}

/* Let more of them connect, so many at a time. */
void connect_some(void) {
    while (next_client - opened < options.parallel && next_client < options.clients) start_client(&clients[next_client++]);
}

/* The connection is over. */
void drop(struct client *c) {
    if (c->state == CLOSED) return;
    enum state before = c->state;
    close(c->fd);
    c->state = CLOSED;
    if (before == CLOSING) { /* it came and went, and comes again */
        if (sending) start_client(c);
        return;
    }
    if (before < OPEN) fail("a client was turned away", "the server closed the socket");
    if (c->close_code == 0) c->close_code = 1006;
    if (!c->stalls) counts.closed++;
}

/* The loop. */

static void on_readable(struct client *c) {
    if (c->tail_length >= READ_BYTES / 2) fail("protocol", "a frame is too large");
    memcpy(buffer, c->tail, c->tail_length);
    ssize_t n = recv(c->fd, buffer + c->tail_length, READ_BYTES - c->tail_length - 1, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) {
        drop(c);
        return;
    }
    size_t length = c->tail_length + (size_t)n;
    buffer[length] = 0;
    size_t used = c->state == HANDSHAKE ? parse_answer(c, buffer, length) : parse(c, buffer, length);
    if (c->state == CLOSED || c->state == CONNECTING) return; /* what is left was of a connection that is no more */
    c->tail_length = length - used;
    if (c->tail_length > 0) {
        c->tail = allocate(c->tail, c->tail_length);
        memcpy(c->tail, buffer + used, c->tail_length);
    }
    publish(c);
}

void step(int timeout_milliseconds) {
    struct epoll_event events[EVENTS];
    int n = epoll_wait(epoll_fd, events, EVENTS, timeout_milliseconds);
    if (n < 0 && errno != EINTR) fail("epoll_wait", strerror(errno));
    if (n > 0) last_byte = now();
    for (int i = 0; i < n; i++) {
        if (events[i].data.ptr == &timer_fd) {
            uint64_t times;
            if (read(timer_fd, &times, sizeof times) > 0) when_due();
            continue;
        }
        struct client *c = events[i].data.ptr;
        if (c->state == CONNECTING && (events[i].events & (EPOLLOUT | EPOLLERR | EPOLLHUP))) on_connected(c);
        else if (c->state != CLOSED && (events[i].events & EPOLLOUT)) flush_out(c);
        if (c->state == CLOSED || c->state == CONNECTING) continue;
        if (events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP)) on_readable(c);
    }
}
