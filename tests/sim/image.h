/* The simulator's "cubin": this header, then a shared library, then the CUDA text. */
#ifndef NPC_SIM_IMAGE_H
#define NPC_SIM_IMAGE_H

#include <stdint.h>

#define SIM_IMAGE_MAGIC "NPCSIM1"

typedef struct SimImage {
    char magic[8];
    uint32_t capability;        /* 90 */
    uint32_t check;             /* of the bytes */
    uint64_t bytes, text_bytes; /* of the library, and of the text with its NUL */
} SimImage;

static inline uint32_t sim_image_check(const unsigned char *at, uint64_t bytes)
{
    uint32_t h = 2166136261u;
    for (uint64_t i = 0; i < bytes; i++)
        h = (h ^ at[i]) * 16777619u;
    return h;
}

#endif
