/* The load generator of bench/: WebSocket clients enough to keep any server busy, on one core.
 *
 * One thread, epoll, no library. Every delivery is counted by parsing its frame (RFC 6455, section 5.2). Publishers
 * read the marker of each message, "@p" publisher "." number ";", and notice a gap, a repeat or a wrong order. After
 * the measurement nothing more is sent, and what is still on its way is waited for; what never comes is reported.
 *
 * It writes one JSON object a line to standard output: {"event":"ready"} when every client is in and it is quiet,
 * {"event":"begin"} and {"event":"end"} around the measurement, {"event":"result",...} last.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { READ_BYTES = 1 << 20, EVENTS = 512, MARKER_BYTES = 17, MESSAGE_BYTES_MAX = 60000, TEMPLATE_BYTES_MAX = 1000 };
static const double QUIET_SECONDS = 0.3;   /* so long without a byte: everybody is in, and has heard so */
static const double SETTLE_SECONDS = 15;   /* if it does not become quiet, begin all the same */
static const double CONNECT_SECONDS = 120; /* all clients together */

enum mode { FANOUT, ECHO, IDLE, CONNECT };
enum state { UNUSED, CONNECTING, HANDSHAKE, JOINING, OPEN, CLOSED };

struct client {
    int fd;
    enum state state;
    int publishes;
    int writable_wanted;
    unsigned outstanding;    /* own messages that have not come back */
    uint64_t sent, received; /* messages */
    uint8_t *tail;           /* start of a frame (or of the handshake's answer) that is not complete */
    size_t tail_length;
    uint8_t *out; /* bytes that the socket did not take yet */
    size_t out_length, out_capacity;
};

/* Options. */
static enum mode mode = FANOUT;
static const char *host = "127.0.0.1", *path = "/", *join_text = NULL, *join_marker = NULL, *template = "$T";
static int port = 0, clients_wanted = 1, publishers = 1, parallel = 64, rooms = 1;
static unsigned outstanding_most = 1;
static size_t message_bytes = 150;
static double warm_seconds = 0.5, measure_seconds = 2;
static double drain_seconds = 10; /* what takes longer after the last message is lost */
static char **headers = NULL;
static size_t header_count = 0;

/* State. */
static struct client *clients;
static int epoll_fd, opened, opening, next_client, publishing;
static uint64_t sent_total, received_total, disordered, refused, closed_by_server;
static uint64_t *last_number; /* [client that looks][publisher]: number of the latest message seen */
static double last_byte;
static uint8_t *buffer;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void fail(const char *what, const char *detail) {
    fprintf(stderr, "generator: %s: %s\n", what, detail);
    exit(1);
}

static void *allocate(void *old, size_t bytes) {
    void *memory = realloc(old, bytes);
    if (memory == NULL) fail("memory", "none left");
    return memory;
}

static void say(const char *event) {
    printf("{\"event\":\"%s\"}\n", event);
    fflush(stdout);
}

/* Writing. */

static void watch(struct client *c, int writable) {
    if (c->writable_wanted == writable) return;
    struct epoll_event event = {.events = EPOLLIN | (writable ? EPOLLOUT : 0), .data.ptr = c};
    c->writable_wanted = writable;
    if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &event) < 0) fail("epoll_ctl", strerror(errno));
}

static void drop(struct client *c) {
    if (c->state == CLOSED) return;
    if (c->state != OPEN) fail("a client was turned away", "the server closed the socket");
    close(c->fd);
    c->state = CLOSED;
    closed_by_server++;
}

static void flush_out(struct client *c) {
    while (c->out_length > 0) {
        ssize_t n = send(c->fd, c->out, c->out_length, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno == EAGAIN || errno == EINTR) break;
            drop(c);
            return;
        }
        memmove(c->out, c->out + n, c->out_length - (size_t)n);
        c->out_length -= (size_t)n;
    }
    watch(c, c->out_length > 0);
}

static uint8_t *reserve(struct client *c, size_t bytes) {
    if (c->out_length + bytes > c->out_capacity) {
        c->out_capacity = 2 * (c->out_length + bytes);
        c->out = allocate(c->out, c->out_capacity);
    }
    return c->out + c->out_length;
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

/* Fill a template: $T the text with its marker, $N a nonce, $I a number, $R the client's room; the nonce and the
 * number never repeat for a client. */
static size_t compose(struct client *c, const char *from, char *message) {
    int id = (int)(c - clients);
    char *p = message;
    for (const char *t = from; *t; t++) {
        if (t[0] == '$' && t[1] == 'T') {
            p += sprintf(p, "@p%05d.%08llu;", id, (unsigned long long)c->sent);
            size_t padding = message_bytes > MARKER_BYTES ? message_bytes - MARKER_BYTES : 0;
            memset(p, 'x', padding);
            p += padding;
            t++;
        } else if (t[0] == '$' && t[1] == 'N') {
            p += sprintf(p, "bench-%d-%llu", id, (unsigned long long)c->sent);
            t++;
        } else if (t[0] == '$' && t[1] == 'I') {
            p += sprintf(p, "%llu", (unsigned long long)c->sent + 1000);
            t++;
        } else if (t[0] == '$' && t[1] == 'R') {
            p += sprintf(p, "%d", id % rooms);
            t++;
        } else {
            *p++ = *t;
        }
    }
    return (size_t)(p - message);
}

static void queue_text(struct client *c, const char *from) {
    static char message[MESSAGE_BYTES_MAX + 2 * TEMPLATE_BYTES_MAX];
    queue_frame(c, 1, message, compose(c, from, message));
}

static void publish(struct client *c) {
    if (!publishing || !c->publishes || c->state != OPEN || c->outstanding >= outstanding_most) return;
    while (c->outstanding < outstanding_most) {
        c->sent++;
        sent_total++;
        c->outstanding++;
        queue_text(c, template);
    }
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

/* Read the marker of a message, on a client that publishes: is it the next one of its publisher? */
static void check(struct client *c, const uint8_t *payload, size_t length) {
    const uint8_t *marker = memmem(payload, length, "@p", 2);
    if (marker == NULL || marker + MARKER_BYTES > payload + length) {
        disordered++;
        return;
    }
    long long publisher = read_number(marker + 2, 5), number = read_number(marker + 8, 8);
    if (publisher < 0 || publisher >= publishers || number < 0) {
        disordered++;
        return;
    }
    uint64_t *last = &last_number[(c - clients) * publishers + publisher];
    if ((uint64_t)number != *last + 1) disordered++;
    *last = (uint64_t)number;
    if (publisher == c - clients) c->outstanding--;
}

/* A short message on a client that publishes is an acknowledgement or a refusal. */
static void check_answer(const uint8_t *payload, size_t length) {
    if (memmem(payload, length, "\"error\"", 7) == NULL) return;
    if (refused++ == 0) fprintf(stderr, "generator: refused: %.*s\n", (int)length, (const char *)payload);
}

static void joined(struct client *c) {
    c->state = OPEN;
    opening--;
    opened++;
}

static void on_message(struct client *c, const uint8_t *payload, size_t length) {
    if (c->state == JOINING) {
        if (memmem(payload, length, join_marker, strlen(join_marker)) != NULL) joined(c);
        return;
    }
    if (!publishing) return;
    if (length < message_bytes) { /* not what was published */
        if (c->publishes) check_answer(payload, length);
        return;
    }
    c->received++;
    received_total++;
    if (c->publishes) check(c, payload, length);
}

/* Parse complete frames; returns how many bytes they had. */
static size_t parse(struct client *c, const uint8_t *p, size_t n) {
    size_t at = 0;
    while (n - at >= 2 && c->state != CLOSED) {
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
            if (p[at] & 0x80) on_message(c, payload, length);
        } else if (opcode == 8) {
            drop(c);
        } else if (opcode == 9) {
            queue_frame(c, 10, (const char *)payload, length);
            flush_out(c);
        }
        at += head + length;
    }
    return at;
}

static size_t parse_answer(struct client *c, const uint8_t *p, size_t n) {
    const uint8_t *end = memmem(p, n, "\r\n\r\n", 4);
    if (end == NULL) return 0;
    if (n < 12 || memcmp(p, "HTTP/1.1 101", 12) != 0) {
        char line[200];
        snprintf(line, sizeof line, "%.*s", (int)(strcspn((const char *)p, "\r")), (const char *)p);
        fail("a client was turned away", line);
    }
    size_t head = (size_t)(end - p) + 4;
    if (join_text == NULL) {
        joined(c);
    } else {
        c->state = JOINING;
        queue_text(c, join_text);
        flush_out(c);
    }
    return head + parse(c, p + head, n - head);
}

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
    c->tail_length = length - used;
    if (c->tail_length > 0) {
        c->tail = allocate(c->tail, c->tail_length);
        memcpy(c->tail, buffer + used, c->tail_length);
    }
    publish(c);
}

/* Connecting. */

static void start_client(struct client *c) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1) fail("host", "not an IPv4 address");
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) fail("socket", strerror(errno));
    int one = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS)
        fail("connect", strerror(errno));
    c->state = CONNECTING;
    c->writable_wanted = 1;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event) < 0) fail("epoll_ctl", strerror(errno));
    opening++;
}

static void on_connected(struct client *c) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) fail("connect", strerror(error));
    const char *extra = header_count ? headers[(size_t)(c - clients) % header_count] : "";
    size_t most = strlen(path) + strlen(host) + strlen(extra) + 256;
    char *request = (char *)reserve(c, most);
    c->out_length += (size_t)snprintf(request, most,
                                      "GET %s HTTP/1.1\r\nHost: %s:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
                                      "%s%s\r\n",
                                      path, host, port, extra, *extra ? "\r\n" : "");
    c->state = HANDSHAKE;
    flush_out(c);
}

/* The loop. */

static void step(int timeout_milliseconds) {
    struct epoll_event events[EVENTS];
    int n = epoll_wait(epoll_fd, events, EVENTS, timeout_milliseconds);
    if (n < 0 && errno != EINTR) fail("epoll_wait", strerror(errno));
    if (n > 0) last_byte = now();
    for (int i = 0; i < n; i++) {
        struct client *c = events[i].data.ptr;
        if (c->state == CONNECTING && (events[i].events & (EPOLLOUT | EPOLLERR | EPOLLHUP))) on_connected(c);
        else if (c->state != CLOSED && (events[i].events & EPOLLOUT)) flush_out(c);
        if (c->state != CLOSED && (events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP))) on_readable(c);
    }
}

static double connect_all(void) {
    double start = now();
    while (opened < clients_wanted) {
        while (opening < parallel && next_client < clients_wanted) start_client(&clients[next_client++]);
        step(100);
        if (now() - start > CONNECT_SECONDS) fail("connect", "the server did not take all clients in time");
    }
    return now() - start;
}

static void settle(void) {
    double start = now();
    last_byte = start;
    while (now() - last_byte < QUIET_SECONDS && now() - start < SETTLE_SECONDS) step(20);
}

static void run_for(double seconds) {
    for (double end = now() + seconds; now() < end;) step(5);
}

static uint64_t expected(const struct client *c) { return mode == ECHO ? c->sent : sent_total; }

static uint64_t missing(void) {
    uint64_t sum = 0;
    for (int i = 0; i < clients_wanted; i++)
        if (clients[i].received < expected(&clients[i])) sum += expected(&clients[i]) - clients[i].received;
    return sum;
}

static double cpu_seconds(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void measure(void) {
    publishing = 1;
    for (int i = 0; i < publishers; i++) publish(&clients[i]);
    run_for(warm_seconds);
    say("begin");
    double start = now(), cpu = cpu_seconds();
    uint64_t received = received_total, sent = sent_total;
    run_for(measure_seconds);
    double seconds = now() - start;
    cpu = cpu_seconds() - cpu;
    received = received_total - received;
    sent = sent_total - sent;
    say("end");
    outstanding_most = 0;
    uint64_t before = 0;
    for (double end = now() + drain_seconds; missing() > 0 && now() < end;) {
        if (received_total != before) end = now() + drain_seconds;
        before = received_total;
        step(20);
    }
    printf("{\"event\":\"result\",\"clients\":%d,\"seconds\":%.6f,\"sent\":%llu,\"received\":%llu,\"lost\":%llu,"
           "\"disordered\":%llu,\"refused\":%llu,\"closed\":%llu,\"sent_total\":%llu,\"received_total\":%llu,\"cpu\":%.4f}\n",
           clients_wanted, seconds, (unsigned long long)sent, (unsigned long long)received,
           (unsigned long long)missing(), (unsigned long long)disordered, (unsigned long long)refused,
           (unsigned long long)closed_by_server, (unsigned long long)sent_total,
           (unsigned long long)received_total, cpu / seconds);
}

/* Options. */

static void read_headers(const char *file) {
    FILE *stream = fopen(file, "r");
    if (stream == NULL) fail(file, strerror(errno));
    char *line = NULL;
    size_t capacity = 0;
    while (getline(&line, &capacity, stream) > 0) {
        line[strcspn(line, "\r\n")] = 0;
        headers = allocate(headers, (header_count + 1) * sizeof *headers);
        headers[header_count++] = strdup(line);
    }
    free(line);
    fclose(stream);
}

static enum mode parse_mode(const char *name) {
    static const char *names[] = {"fanout", "echo", "idle", "connect"};
    for (int i = 0; i < 4; i++)
        if (strcmp(name, names[i]) == 0) return (enum mode)i;
    fail("mode", name);
    return FANOUT;
}

static void parse_options(int count, char **values) {
    static const struct option known[] = {
        {"mode", 1, 0, 'm'},      {"host", 1, 0, 'h'},     {"port", 1, 0, 'p'},        {"path", 1, 0, 'u'},
        {"clients", 1, 0, 'n'},   {"publishers", 1, 0, 'P'}, {"outstanding", 1, 0, 'k'}, {"bytes", 1, 0, 'b'},
        {"warm", 1, 0, 'w'},      {"seconds", 1, 0, 't'},  {"headers", 1, 0, 'H'},     {"join", 1, 0, 'j'},
        {"joined", 1, 0, 'J'},    {"template", 1, 0, 'T'}, {"parallel", 1, 0, 'c'},
        {"drain", 1, 0, 'd'},     {"rooms", 1, 0, 'r'},    {0, 0, 0, 0}};
    for (int option; (option = getopt_long(count, values, "", known, NULL)) != -1;) switch (option) {
            case 'm': mode = parse_mode(optarg); break;
            case 'h': host = optarg; break;
            case 'p': port = atoi(optarg); break;
            case 'u': path = optarg; break;
            case 'n': clients_wanted = atoi(optarg); break;
            case 'P': publishers = atoi(optarg); break;
            case 'k': outstanding_most = (unsigned)atoi(optarg); break;
            case 'b': message_bytes = (size_t)atol(optarg); break;
            case 'w': warm_seconds = atof(optarg); break;
            case 't': measure_seconds = atof(optarg); break;
            case 'r': rooms = atoi(optarg); break;
            case 'd': drain_seconds = atof(optarg); break;
            case 'H': read_headers(optarg); break;
            case 'j': join_text = optarg; break;
            case 'J': join_marker = optarg; break;
            case 'T': template = optarg; break;
            case 'c': parallel = atoi(optarg); break;
            default: exit(2);
        }
    if (port == 0) fail("option", "--port is missing");
    if ((join_text == NULL) != (join_marker == NULL)) fail("option", "--join and --joined come together");
    if (mode == ECHO) publishers = clients_wanted;
    if (publishers > clients_wanted) fail("option", "more publishers than clients");
    if (strlen(template) > TEMPLATE_BYTES_MAX) fail("option", "--template is too long");
    if (join_text != NULL && strlen(join_text) > TEMPLATE_BYTES_MAX) fail("option", "--join is too long");
    if (rooms < 1) fail("option", "--rooms is out of range");
    if (message_bytes < MARKER_BYTES || message_bytes > MESSAGE_BYTES_MAX) fail("option", "--bytes is out of range");
}

int main(int count, char **values) {
    parse_options(count, values);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if (files.rlim_cur < (rlim_t)clients_wanted + 16) fail("too few file descriptors", "raise ulimit -n");
    buffer = allocate(NULL, READ_BYTES);
    clients = calloc((size_t)clients_wanted, sizeof *clients);
    last_number = calloc((size_t)publishers * (size_t)publishers, sizeof *last_number);
    if (clients == NULL || last_number == NULL) fail("memory", "none left");
    for (int i = 0; i < publishers; i++) clients[i].publishes = 1;
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    double seconds = connect_all();
    if (mode == CONNECT) {
        printf("{\"event\":\"result\",\"clients\":%d,\"seconds\":%.6f}\n", clients_wanted, seconds);
        return 0;
    }
    settle();
    say("ready");
    if (mode == IDLE) {
        /* Stay, and answer pings, until standard input ends. */
        for (struct pollfd input = {.fd = 0, .events = POLLIN}; poll(&input, 1, 0) == 0;) step(50);
        printf("{\"event\":\"result\",\"clients\":%d,\"closed\":%llu}\n", clients_wanted,
               (unsigned long long)closed_by_server);
        return 0;
    }
    measure();
    return 0;
}
