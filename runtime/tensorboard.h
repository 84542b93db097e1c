/* Scalars for TensorBoard: an event file of framed protocol buffers.
 *
 *     record = u64 length | u32 masked crc32c(length) | data | u32 masked crc32c(data)
 *     data   = Event {1 wall_time: double, 2 step: int64, 3 file_version: string,
 *                     5 summary {1 value {1 tag, 2 simple_value: float}}, 7 session_log {1 status}}
 *
 * Source: tensorflow/core/util/event.proto, tensorflow/core/lib/io/record_writer.h */
#ifndef NPC_RUNTIME_TENSORBOARD_H
#define NPC_RUNTIME_TENSORBOARD_H

#include "ir/base/status.h"
#include <stdint.h>
#include <stdio.h>

typedef struct TensorBoard {
    FILE *stream;
    char path[4096];
    double (*wall_time)(
        void); /* seconds since 1970; replaceable for tests before the first event */
} TensorBoard;

/* Makes folder/events.out.tfevents.<seconds>.<host>.<pid> and writes the version record.
 * `resumed_step` > 0: a run that goes on after that many steps; readers then drop what earlier
 * files of the folder hold for later steps. */
Status tensorboard_open(TensorBoard *tb, const char *folder, uint64_t resumed_step, Err *err);
/* One number; flushed. */
Status tensorboard_scalar(TensorBoard *tb, const char *tag, uint64_t step, double value, Err *err);
void tensorboard_close(TensorBoard *tb);

/* CRC-32C (Castagnoli), and its masked form in records: rotate right by 15, add 0xa282ead8. */
uint32_t crc32c(const void *data, size_t bytes);
uint32_t crc32c_masked(const void *data, size_t bytes);

#endif
