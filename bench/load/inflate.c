/* Compressed messages (RFC 7692), without context takeover: each can be read by itself. */
#include "load.h"

#if defined(WITH_ZLIB)
#include <string.h>
#include <zlib.h>

static uint8_t in[READ_BYTES + 4], out[MESSAGE_BYTES_MAX + 4 * TEMPLATE_BYTES_MAX];

const uint8_t *inflated(const uint8_t *payload, size_t length, size_t *out_length) {
    static z_stream stream;
    static int ready;
    if (!ready && inflateInit2(&stream, -MAX_WBITS) != Z_OK) fail("zlib", "it does not start");
    ready = 1;
    memcpy(in, payload, length);
    memcpy(in + length, "\x00\x00\xff\xff", 4); /* what the sender has to leave out (section 7.2.1) */
    inflateReset(&stream);
    stream.next_in = in;
    stream.avail_in = (uInt)length + 4;
    stream.next_out = out;
    stream.avail_out = sizeof out;
    int result = inflate(&stream, Z_SYNC_FLUSH);
    if ((result != Z_OK && result != Z_BUF_ERROR) || stream.avail_in > 0) fail("protocol", "a frame cannot be inflated");
    *out_length = sizeof out - stream.avail_out;
    return out;
}
#else
const uint8_t *inflated(const uint8_t *payload, size_t length, size_t *out_length) {
    (void)payload, (void)length, (void)out_length;
    fail("compression", "zlib was not there when the generator was compiled (apt install zlib1g-dev)");
    return NULL;
}
#endif
