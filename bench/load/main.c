/* The options and the modes.
 *
 * It writes one JSON object a line to standard output: {"event":"opened"} when every client is in, {"event":"ready"}
 * when it is quiet then, {"event":"begin"} and {"event":"end"} around the measurement, {"event":"result",...} last.
 */
#define _GNU_SOURCE
#include "load.h"

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>

static const double QUIET_SECONDS = 0.3;   /* so long without a byte: everybody is in, and has heard so */
static const double SETTLE_SECONDS = 15;   /* if it does not become quiet, begin all the same */
static const double CONNECT_SECONDS = 120; /* all clients together */

struct options options = {
    .mode = FANOUT, .host = "127.0.0.1", .path = "/", .template = "$T", .clients = 1, .publishers = 1, .parallel = 64,
    .rooms = 1, .joins = 1, .outstanding = 1, .message_bytes = 150, .warm_seconds = 0.25, .measure_seconds = 2,
    .drain_seconds = 10};
struct counts counts;
struct client *clients;
int publishing, sending;

double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

void fail(const char *what, const char *detail) {
    fprintf(stderr, "generator: %s: %s\n", what, detail);
    exit(1);
}

void *allocate(void *old, size_t bytes) {
    void *memory = realloc(old, bytes);
    if (memory == NULL) fail("memory", "none left");
    return memory;
}

static void say(const char *event) {
    printf("{\"event\":\"%s\"}\n", event);
    fflush(stdout);
}

/* The phases of a run. */

static double connect_all(void) {
    double start = now();
    while (opened < options.clients) {
        connect_some();
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

/* Those that are not to read: from the beginning to the end of the measurement. */
static void stall(int stalled) {
    for (int i = options.clients - options.stall; i < options.clients; i++)
        if (clients[i].state == OPEN) watch(&clients[i], stalled ? 0 : EPOLLIN);
}

static uint64_t expected(const struct client *c) {
    if (options.mode == ECHO) return c->sent;
    return in_room[(c - clients) % options.rooms];
}

static int stalled_are_open(void) {
    for (int i = options.clients - options.stall; i < options.clients; i++)
        if (clients[i].state == OPEN) return 1;
    return 0;
}

static uint64_t missing(void) {
    uint64_t sum = 0;
    for (int i = 0; i < options.clients; i++) {
        struct client *c = &clients[i];
        if (options.mode == CHURN) {
            if (c->state != CLOSED) sum++; /* it has not come to an end */
        } else if (!c->stalls) {
            if (c->received < expected(c)) sum += expected(c) - c->received;
            if (options.answer_marker != NULL) sum += c->sent - c->acknowledged;
        }
    }
    return sum;
}

/* Wait for what is still on its way. */
static void drain(void) {
    uint64_t before = 0;
    for (double end = now() + options.drain_seconds; (missing() > 0 || stalled_are_open()) && now() < end;) {
        if (counts.received + counts.cycles != before) end = now() + options.drain_seconds;
        before = counts.received + counts.cycles;
        step(20);
    }
}

static double cpu_seconds(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void print_number(const char *name, uint64_t value) { printf(",\"%s\":%llu", name, (unsigned long long)value); }

/* Everybody begins: publishers publish, churners leave and come again. */
static void begin_all(void) {
    publishing = sending = 1;
    if (options.mode == CHURN) {
        for (int i = 0; i < options.clients; i++) {
            clients[i].state = CLOSING;
            queue_close(&clients[i]);
            flush_out(&clients[i]);
        }
    } else if (options.rate > 0) {
        start_pace();
    } else {
        for (int i = 0; i < options.publishers; i++) publish(&clients[i]);
    }
}

static void measure(void) {
    begin_all();
    run_for(options.warm_seconds);
    stall(1);
    say("begin");
    struct counts first = counts;
    double start = now(), cpu = cpu_seconds();
    window_begins(start);
    run_for(options.measure_seconds);
    double end = now(), seconds = end - start;
    window_ends(end);
    cpu = cpu_seconds() - cpu;
    struct counts last = counts;
    say("end");
    sending = 0;
    stall(0);
    drain();
    printf("{\"event\":\"result\",\"clients\":%d,\"seconds\":%.6f,\"cpu\":%.4f", options.clients, seconds, cpu / seconds);
    print_number("sent", last.sent - first.sent);
    print_number("received", last.received - first.received);
    print_number("cycles", last.cycles - first.cycles);
    print_number("sent_total", counts.sent);
    print_number("received_total", counts.received);
    print_number("lost", missing());
    print_number("disordered", counts.disordered);
    print_number("refused", counts.refused);
    print_number("closed", counts.closed);
    if (options.stall > 0) print_number("stalled_code", (uint64_t)clients[options.clients - 1].close_code);
    if (options.rate > 0) print_latency();
    puts("}");
}

/* Stay, and answer pings, until standard input ends. */
static void stay(void) {
    for (struct pollfd input = {.fd = 0, .events = POLLIN}; poll(&input, 1, 0) == 0;) step(50);
    printf("{\"event\":\"result\",\"clients\":%d", options.clients);
    print_number("closed", counts.closed);
    print_number("items", counts.items);
    print_number("lost", counts.items_wrong);
    puts("}");
}

/* Options. */

static void read_headers(const char *file) {
    FILE *stream = fopen(file, "r");
    if (stream == NULL) fail(file, strerror(errno));
    char *line = NULL;
    size_t capacity = 0;
    while (getline(&line, &capacity, stream) > 0) {
        line[strcspn(line, "\r\n")] = 0;
        options.headers = allocate(options.headers, (options.header_count + 1) * sizeof *options.headers);
        options.headers[options.header_count++] = strdup(line);
    }
    free(line);
    fclose(stream);
}

static enum mode parse_mode(const char *name) {
    static const char *names[] = {"fanout", "echo", "idle", "connect", "churn"};
    for (int i = 0; i < 5; i++)
        if (strcmp(name, names[i]) == 0) return (enum mode)i;
    fail("mode", name);
    return FANOUT;
}

static void check_options(void) {
    if (options.port == 0) fail("option", "--port is missing");
    if (options.join_text != NULL && options.join_marker == NULL) fail("option", "--join needs --joined");
    if ((options.leave_text == NULL) != (options.leave_marker == NULL)) fail("option", "--leave and --left come together");
    if (options.mode == ECHO) options.publishers = options.clients;
    if (options.publishers + options.stall > options.clients) fail("option", "more publishers than clients");
    if (strlen(options.template) > TEMPLATE_BYTES_MAX) fail("option", "--template is too long");
    if (options.join_text != NULL && strlen(options.join_text) > TEMPLATE_BYTES_MAX) fail("option", "--join is too long");
    if (options.rooms < 1 || options.joins < 1) fail("option", "--rooms or --joins is out of range");
    if (options.message_bytes < MARKER_BYTES || options.message_bytes > MESSAGE_BYTES_MAX)
        fail("option", "--bytes is out of range");
}

static void parse_options(int count, char **values) {
    static const struct option known[] = {
        {"mode", 1, 0, 'm'},
        {"host", 1, 0, 'h'},
        {"port", 1, 0, 'p'},
        {"path", 1, 0, 'u'},
        {"headers", 1, 0, 'H'},     /* a file: one header a line, for each client in turn */
        {"clients", 1, 0, 'n'},
        {"publishers", 1, 0, 'P'},  /* the first so many of them */
        {"parallel", 1, 0, 'c'},    /* clients that connect at the same time */
        {"rooms", 1, 0, 'r'},
        {"joins", 1, 0, 'R'},       /* rooms of each client */
        {"join", 1, 0, 'j'},        /* what a client says first */
        {"joined", 1, 0, 'J'},      /* what the answer holds */
        {"items", 1, 0, 'i'},       /* text to be counted in that answer */
        {"each", 1, 0, 'e'},        /* how often it has to be there */
        {"leave", 1, 0, 'l'},       /* mode churn: what a client says last */
        {"left", 1, 0, 'L'},        /* what the answer holds */
        {"template", 1, 0, 'T'},    /* a message */
        {"answer", 1, 0, 'a'},      /* what its acknowledgement holds */
        {"ignore", 1, 0, 'g'},      /* what a message holds that is none of these */
        {"compress", 1, 0, 'z'},    /* 1: offer permessage-deflate, and insist on it */
        {"bytes", 1, 0, 'b'},       /* of a message's text */
        {"outstanding", 1, 0, 'k'}, /* messages of a publisher that may be on their way */
        {"rate", 1, 0, 'x'},        /* messages per second of all publishers; they wait for nothing then */
        {"stall", 1, 0, 's'},       /* the last so many clients do not read while it is measured */
        {"warm", 1, 0, 'w'},
        {"seconds", 1, 0, 't'},
        {"drain", 1, 0, 'd'},       /* what takes longer after the last message is lost */
        {0, 0, 0, 0}};
    for (int option; (option = getopt_long(count, values, "", known, NULL)) != -1;) switch (option) {
            case 'm': options.mode = parse_mode(optarg); break;
            case 'h': options.host = optarg; break;
            case 'p': options.port = atoi(optarg); break;
            case 'u': options.path = optarg; break;
            case 'H': read_headers(optarg); break;
            case 'n': options.clients = atoi(optarg); break;
            case 'P': options.publishers = atoi(optarg); break;
            case 'c': options.parallel = atoi(optarg); break;
            case 'r': options.rooms = atoi(optarg); break;
            case 'R': options.joins = atoi(optarg); break;
            case 'j': options.join_text = optarg; break;
            case 'J': options.join_marker = optarg; break;
            case 'i': options.items = optarg; break;
            case 'e': options.items_each = (unsigned)atoi(optarg); break;
            case 'l': options.leave_text = optarg; break;
            case 'L': options.leave_marker = optarg; break;
            case 'T': options.template = optarg; break;
            case 'a': options.answer_marker = optarg; break;
            case 'g': options.ignored = optarg; break;
            case 'z': options.compress = atoi(optarg); break;
            case 'b': options.message_bytes = (size_t)atol(optarg); break;
            case 'k': options.outstanding = (unsigned)atoi(optarg); break;
            case 'x': options.rate = atof(optarg); break;
            case 's': options.stall = atoi(optarg); break;
            case 'w': options.warm_seconds = atof(optarg); break;
            case 't': options.measure_seconds = atof(optarg); break;
            case 'd': options.drain_seconds = atof(optarg); break;
            default: exit(2);
        }
    check_options();
}

static void make_clients(void) {
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if (files.rlim_cur < (rlim_t)options.clients + 16) fail("too few file descriptors", "raise ulimit -n");
    clients = calloc((size_t)options.clients, sizeof *clients);
    if (clients == NULL) fail("memory", "none left");
    for (int i = 0; i < options.publishers; i++) clients[i].publishes = 1;
    for (int i = options.clients - options.stall; i < options.clients; i++) clients[i].stalls = 1;
}

int main(int count, char **values) {
    parse_options(count, values);
    make_clients();
    start_clients_module();
    start_wire_module();
    if (options.rate > 0) start_latency_module();
    double seconds = connect_all();
    const char *event = options.mode == CONNECT ? "result" : "opened";
    printf("{\"event\":\"%s\",\"clients\":%d,\"seconds\":%.6f}\n", event, options.clients, seconds);
    fflush(stdout);
    if (options.mode == CONNECT) return 0;
    settle();
    say("ready");
    if (options.mode == IDLE) stay();
    else measure();
    return 0;
}
