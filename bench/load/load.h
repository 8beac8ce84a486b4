/* The load generator of bench/: WebSocket clients enough to keep any server busy, on one core.
 *
 * One thread, epoll, no library but zlib, where there is one. Every delivery is counted by parsing its frame (RFC 6455, section 5.2). Publishers
 * read the marker of each message, "@p" publisher "." number ";", and notice a gap, a repeat or a wrong order. After
 * the measurement nothing more is sent, and what is still on its way is waited for; what never comes is reported.
 *
 * main.c has the options and the modes, clients.c the sockets, wire.c the frames, latency.c the histogram, inflate.c
 * what compressed messages need.
 */
#ifndef LOAD_H
#define LOAD_H

#include <stddef.h>
#include <stdint.h>

enum { READ_BYTES = 1 << 20, MARKER_BYTES = 17, MESSAGE_BYTES_MAX = 60000, TEMPLATE_BYTES_MAX = 1000 };

enum mode { FANOUT, ECHO, IDLE, CONNECT, CHURN };
enum state { UNUSED, CONNECTING, HANDSHAKE, JOINING, OPEN, LEAVING, CLOSING, CLOSED };

struct client {
    int fd;
    enum state state;
    int publishes, stalls;
    int interest;            /* what epoll watches */
    int joins_done;          /* rooms that it is in */
    int close_code;          /* what the server said last; 1006 when it went without a word; 0 when it is there */
    unsigned outstanding;    /* own messages that have not come back */
    uint64_t sent, received; /* messages */
    uint64_t acknowledged;   /* answers to them */
    uint8_t *tail;           /* start of a frame (or of the handshake's answer) that is not complete */
    size_t tail_length;
    uint8_t *out; /* bytes that the socket did not take yet */
    size_t out_length, out_capacity;
};

/* What the command line says; the comments in main.c's table name the options. */
struct options {
    enum mode mode;
    const char *host, *path, *join_text, *join_marker, *leave_text, *leave_marker, *answer_marker, *ignored, *template, *items;
    int port, clients, publishers, parallel, rooms, joins, stall, compress;
    unsigned outstanding, items_each;
    size_t message_bytes;
    double warm_seconds, measure_seconds, drain_seconds;
    double rate; /* messages per second by all publishers together; 0: as fast as they come back */
    char **headers;
    size_t header_count;
};

/* What was counted. */
struct counts {
    uint64_t sent, received, disordered, refused, closed;
    uint64_t items, items_wrong; /* in answers to joining */
    uint64_t cycles;             /* times that somebody came, joined, left and was gone */
};

extern struct options options;
extern struct counts counts;
extern struct client *clients;
extern int opened;         /* clients that are in */
extern int publishing;     /* messages count */
extern int sending;        /* and there are to be more of them */
extern uint64_t *in_room;  /* messages sent, by room */
extern double last_byte;   /* when anything came */

/* main.c */
double now(void);
void fail(const char *what, const char *detail);
void *allocate(void *old, size_t bytes);

/* clients.c */
void start_clients_module(void);
void connect_some(void);
void step(int timeout_milliseconds);
void watch(struct client *c, int interest);
void flush_out(struct client *c);
uint8_t *reserve(struct client *c, size_t bytes);
void drop(struct client *c);
void set_timer(int fd, double due);
int add_timer(void (*on_timer)(void));

/* wire.c */
void start_wire_module(void);
void queue_text(struct client *c, const char *from);
void queue_close(struct client *c);
void publish(struct client *c);
void send_one(struct client *c);
size_t parse(struct client *c, const uint8_t *p, size_t n);
size_t parse_answer(struct client *c, const uint8_t *p, size_t n);
int room_of(const struct client *c);

/* inflate.c */
const uint8_t *inflated(const uint8_t *payload, size_t length, size_t *out_length);

/* latency.c */
void start_latency_module(void);
void start_pace(void);
void window_begins(double at);
void window_ends(double at);
void on_paced_delivery(int publisher, uint64_t number);
void print_latency(void);

#endif
