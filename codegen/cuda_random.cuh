/* Random masks, noise and bytes of a step, made where they are read: the numbers of data/random_fill.c,
 * bit for bit. Follows cuda_prelude; compiled without fused multiply-adds.
 *
 * Element i of a step is number i % 4 of Philox block (step 2^32 + i) / 4, as on the host, and byte
 * i % 16 of block (step 2^32 + i) / 16. A thread makes the numbers of a block. draw[4]: are numbers wanted, step, seed (low, high). When none
 * are wanted the host has sent its own. */

/* The block of the elements 4 i .. 4 i + 3, or of 16 i .. 16 i + 15 where `bits` is 28. */
NPC_DEVICE NpcWords npc_draw(const uint32_t *draw, uint32_t stream_low, uint32_t stream_high,
                             unsigned long long i, int bits)
{
    const unsigned long long block = ((unsigned long long)draw[1] << bits) + i;
    return npc_philox((uint32_t)block, (uint32_t)(block >> 32), stream_low, stream_high, draw[2],
                      draw[3]);
}

/* out[n]: 0 with the probability `rate`, otherwise 1 */
NPC_KERNEL(256) npc_draw_mask(uint8_t *out, unsigned long long n, uint32_t stream_low,
                              uint32_t stream_high, float rate, const uint32_t *draw)
{
    const unsigned long long i = (unsigned long long)blockIdx.x * 256 + threadIdx.x;
    if (!draw[0] || 4 * i >= n)
        return;
    const NpcWords w = npc_draw(draw, stream_low, stream_high, i, 30);
    for (int k = 0; k < 4; k++)
        if (4 * i + k < n)
            out[4 * i + k] = (float)(w.at[k] >> 8) * 5.9604644775390625e-8f >= rate; /* 2^-24 */
}

/* -2 log((its top 23 bits + 1/2) / 2^23) */
NPC_DEVICE float npc_minus_two_log(uint32_t word)
{
    float x = ((float)(word >> 9) + 0.5f) * 1.1920928955078125e-7f;
    uint32_t shifted = NPC_FLOAT_BITS(x) - 0x3F3504F3u; /* 1/sqrt(2) */
    float e = (float)((int)shifted >> 23);
    float m = NPC_BITS_FLOAT((shifted & 0x007FFFFFu) + 0x3F3504F3u);
    float s = (m - 1.0f) / (m + 1.0f), q = s * s;
    float p = ((0.15384615f * q + 0.18181818f) * q + 0.22222222f) * q + 0.28571429f;
    p = ((p * q + 0.4f) * q + 0.66666667f) * q + 2.0f;
    return -2.0f * (e * 0.69314718f + s * p);
}

/* Two normals from two words: radius from the first, angle from the second. */
NPC_DEVICE void npc_box_muller(uint32_t a, uint32_t b, float *x, float *y)
{
    float r = sqrtf(npc_minus_two_log(a));
    uint32_t quadrant = b >> 30;
    float t = ((float)((b >> 7) & 0x7FFFFFu) + 0.5f - 4194304.0f) * (0.78539816f / 4194304.0f);
    float q = t * t;
    float s = t * (1.0f + q * (-0.16666667f + q * (8.3333333e-3f + q * -1.9841270e-4f)));
    float c = 1.0f + q * (-0.5f + q * (4.1666667e-2f + q * (-1.3888889e-3f + q * 2.4801587e-5f)));
    float u = quadrant & 1u ? c : s, v = quadrant & 1u ? s : c;
    uint32_t su = quadrant & 2u ? 0x80000000u : 0u;
    uint32_t sv = (quadrant + 1u) & 2u ? 0x80000000u : 0u;
    *x = r * NPC_BITS_FLOAT(NPC_FLOAT_BITS(u) ^ su);
    *y = r * NPC_BITS_FLOAT(NPC_FLOAT_BITS(v) ^ sv);
}

/* out[n]: standard normal; `rate` is not used */
NPC_KERNEL(256) npc_draw_noise(float *out, unsigned long long n, uint32_t stream_low,
                               uint32_t stream_high, float rate, const uint32_t *draw)
{
    const unsigned long long i = (unsigned long long)blockIdx.x * 256 + threadIdx.x;
    float z[4];
    (void)rate;
    if (!draw[0] || 4 * i >= n)
        return;
    const NpcWords w = npc_draw(draw, stream_low, stream_high, i, 30);
    npc_box_muller(w.at[0], w.at[1], z, z + 1);
    npc_box_muller(w.at[2], w.at[3], z + 2, z + 3);
    for (int k = 0; k < 4; k++)
        if (4 * i + k < n)
            out[4 * i + k] = 0.0f + z[k]; /* as mean + sd z: no negative zeros */
}

/* out[n]: 0 .. 255, low bytes of a word first; `rate` is not used */
NPC_KERNEL(256) npc_draw_bytes(uint8_t *out, unsigned long long n, uint32_t stream_low,
                               uint32_t stream_high, float rate, const uint32_t *draw)
{
    const unsigned long long i = (unsigned long long)blockIdx.x * 256 + threadIdx.x;
    (void)rate;
    if (!draw[0] || 16 * i >= n)
        return;
    const NpcWords w = npc_draw(draw, stream_low, stream_high, i, 28);
    for (int k = 0; k < 16; k++)
        if (16 * i + k < n)
            out[16 * i + k] = (uint8_t)(w.at[k / 4] >> k % 4 * 8);
}
