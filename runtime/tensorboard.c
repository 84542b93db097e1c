#include "runtime/tensorboard.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- crc32c: reflected polynomial 0x82f63b78 ---- */

uint32_t crc32c(const void *data, size_t bytes)
{
    const unsigned char *p = data;
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < bytes; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
    }
    return ~crc;
}

uint32_t crc32c_masked(const void *data, size_t bytes)
{
    uint32_t crc = crc32c(data, bytes);
    return (crc >> 15 | crc << 17) + 0xa282ead8;
}

/* ---- protocol buffers ---- */

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

typedef struct Message {
    unsigned char at[1024];
    size_t len;
} Message;

static void put_fixed(Message *m, uint64_t x, int bytes)
{
    for (int i = 0; i < bytes; i++)
        m->at[m->len++] = (unsigned char)(x >> (8 * i));
}

static void put_varint(Message *m, uint64_t x)
{
    for (; x >= 0x80; x >>= 7)
        m->at[m->len++] = (unsigned char)(x | 0x80);
    m->at[m->len++] = (unsigned char)x;
}

static void put_key(Message *m, int field, int type)
{
    put_varint(m, (uint64_t)(field << 3 | type));
}

static void put_bytes(Message *m, int field, const void *data, size_t n)
{
    put_key(m, field, BYTES);
    put_varint(m, n);
    memcpy(m->at + m->len, data, n);
    m->len += n;
}

static void put_head(Message *m, const TensorBoard *tb, uint64_t step)
{
    double wall = tb->wall_time();
    uint64_t bits;
    memcpy(&bits, &wall, sizeof bits);
    put_key(m, 1, FIXED64);
    put_fixed(m, bits, 8);
    if (step) {
        put_key(m, 2, VARINT);
        put_varint(m, step);
    }
}

/* ---- records ---- */

static Status put_record(TensorBoard *tb, const Message *m, Err *err)
{
    Message head = {.len = 0}, tail = {.len = 0};
    put_fixed(&head, m->len, 8);
    put_fixed(&head, crc32c_masked(head.at, 8), 4);
    put_fixed(&tail, crc32c_masked(m->at, m->len), 4);
    if (fwrite(head.at, 1, head.len, tb->stream) != head.len ||
        fwrite(m->at, 1, m->len, tb->stream) != m->len ||
        fwrite(tail.at, 1, tail.len, tb->stream) != tail.len || fflush(tb->stream) != 0)
        return err_set(err, NPC_ERR_IO, "%s: cannot write: %s", tb->path, strerror(errno));
    return NPC_OK;
}

static Status put_version(TensorBoard *tb, Err *err)
{
    static const char version[] = "brain.Event:2";
    Message m = {.len = 0};
    put_head(&m, tb, 0);
    put_bytes(&m, 3, version, sizeof version - 1);
    return put_record(tb, &m, err);
}

/* SessionLog START: what was recorded for this step and later is void. */
static Status put_restart(TensorBoard *tb, uint64_t step, Err *err)
{
    static const unsigned char start[] = {1 << 3 | VARINT, 1};
    Message m = {.len = 0};
    put_head(&m, tb, step);
    put_bytes(&m, 7, start, sizeof start);
    return put_record(tb, &m, err);
}

static double wall_time(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

Status tensorboard_open(TensorBoard *tb, const char *folder, uint64_t resumed_step, Err *err)
{
    char host[256] = "host";
    gethostname(host, sizeof host - 1);
    *tb = (TensorBoard){.wall_time = wall_time};
    int n = snprintf(tb->path, sizeof tb->path, "%s/events.out.tfevents.%010lld.%s.%ld", folder,
                     (long long)wall_time(), host, (long)getpid());
    if (n < 0 || (size_t)n >= sizeof tb->path)
        return err_set(err, NPC_ERR_INPUT, "%.200s...: the name is too long", folder);
    tb->stream = fopen(tb->path, "abe");
    if (!tb->stream)
        return err_set(err, NPC_ERR_IO, "%s: cannot create: %s", tb->path, strerror(errno));
    Status s = put_version(tb, err);
    if (s == NPC_OK && resumed_step)
        s = put_restart(tb, resumed_step + 1, err);
    if (s != NPC_OK)
        tensorboard_close(tb);
    return s;
}

Status tensorboard_scalar(TensorBoard *tb, const char *tag, uint64_t step, double value, Err *err)
{
    Message scalar = {.len = 0}, summary = {.len = 0}, m = {.len = 0};
    size_t tag_bytes = strnlen(tag, 256);
    float f = (float)value;
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    put_bytes(&scalar, 1, tag, tag_bytes);
    put_key(&scalar, 2, FIXED32);
    put_fixed(&scalar, bits, 4);
    put_bytes(&summary, 1, scalar.at, scalar.len);
    put_head(&m, tb, step);
    put_bytes(&m, 5, summary.at, summary.len);
    return put_record(tb, &m, err);
}

void tensorboard_close(TensorBoard *tb)
{
    if (tb->stream)
        fclose(tb->stream);
    tb->stream = NULL;
}
