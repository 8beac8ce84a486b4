/* Open loop: messages leave on a schedule that no answer can hold up, and a delivery's latency counts from the moment
 * at which its message was due, not from when it could be sent. So a server that stalls pays for everything that
 * should have come meanwhile ("coordinated omission" is what leaving that out is called).
 *
 * Latencies go into a histogram with 128 steps for each power of two: exact to 0.8 %, and never full.
 */
#include "load.h"

#include <stdio.h>
#include <stdlib.h>

enum { STEP_BITS = 7, STEPS = 1 << STEP_BITS, BUCKETS = (64 - STEP_BITS + 1) * STEPS };
enum { REMEMBERED = 1 << 16 }; /* messages of one publisher whose due times are kept */

static uint64_t histogram[BUCKETS], recorded, greatest;
static double *due; /* [publisher][number modulo REMEMBERED], in seconds */
static double begins = 1e300, ends = 1e300, first_due;
static uint64_t scheduled;
static int timer;

static int bucket_of(uint64_t nanoseconds) {
    if (nanoseconds < STEPS) return (int)nanoseconds;
    int shift = 63 - __builtin_clzll(nanoseconds) - STEP_BITS;
    return (shift + 1) * STEPS + (int)((nanoseconds >> shift) & (STEPS - 1));
}

static double middle_of(int bucket) {
    if (bucket < STEPS) return bucket;
    int shift = bucket / STEPS - 1;
    return ((double)(STEPS + bucket % STEPS) + 0.5) * (double)(1ULL << shift);
}

static double percentile(double share) {
    uint64_t wanted = (uint64_t)((double)recorded * share), seen = 0;
    for (int bucket = 0; bucket < BUCKETS; bucket++) {
        seen += histogram[bucket];
        if (seen > wanted) return middle_of(bucket) / 1e3;
    }
    return (double)greatest / 1e3;
}

static double due_at(uint64_t number) { return first_due + (double)number / options.rate; }

/* Send what is due; the timer comes back when there is more. */
static void on_timer(void) {
    if (!sending) return;
    for (; due_at(scheduled) <= now(); scheduled++) {
        int publisher = (int)(scheduled % (uint64_t)options.publishers);
        struct client *c = &clients[publisher];
        if (c->state != OPEN) continue; /* the server closed it, which is reported */
        due[(uint64_t)publisher * REMEMBERED + (c->sent + 1) % REMEMBERED] = due_at(scheduled);
        send_one(c);
    }
    set_timer(timer, due_at(scheduled));
}

void start_latency_module(void) {
    due = calloc((size_t)options.publishers * REMEMBERED, sizeof *due);
    if (due == NULL) fail("memory", "none left");
    timer = add_timer(on_timer);
}

void start_pace(void) {
    first_due = now() + 1 / options.rate;
    set_timer(timer, first_due);
}

/* Only what is due between these two counts, however late it comes. */
void window_begins(double at) { begins = at; }
void window_ends(double at) { ends = at; }

void on_paced_delivery(int publisher, uint64_t number) {
    double was_due = due[(uint64_t)publisher * REMEMBERED + number % REMEMBERED], late = now() - was_due;
    if (was_due < begins || was_due >= ends) return;
    uint64_t nanoseconds = late > 0 ? (uint64_t)(late * 1e9) : 0;
    histogram[bucket_of(nanoseconds)]++;
    recorded++;
    if (nanoseconds > greatest) greatest = nanoseconds;
}

void print_latency(void) {
    printf(",\"latency\":{\"count\":%llu,\"p50\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"greatest\":%.1f}",
           (unsigned long long)recorded, percentile(0.5), percentile(0.99), percentile(0.999), (double)greatest / 1e3);
}
