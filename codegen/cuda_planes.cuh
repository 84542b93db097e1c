/* An input that the device fills (InputPlanes in runtime/device.h). Follows cuda_prelude. A block
 * fills a plane.
 *
 * x [b, pictures + values, frames, height, width]
 * picture [b]: the sample's pictures [pictures, frames, its height, its width] in the middle of
 * zeros, in packed at `at` as floats or, coded, as numbers in palette [b, 256]
 * value [b, values, frames, 2]: outside, inside; box [b, 4]: top, bottom, left, right, ends
 * exclusive */

typedef struct NpcPicture {
    unsigned long long at; /* bytes */
    int height, width, is_coded, unused;
} NpcPicture;

/* plane: of the sample's pictures */
NPC_DEVICE void npc_fill_picture(float *to, const NpcPicture *k, const float *palette,
                                 const uint8_t *packed, int plane, int height, int width)
{
    const int top = (height - k->height) / 2, left = (width - k->width) / 2;
    const unsigned long long before = (unsigned long long)plane * k->height * k->width;
    const uint8_t *code = packed + k->at + before;
    const float *pixel = (const float *)(packed + k->at) + before;
    for (int p = (int)threadIdx.x; p < height * width; p += 256) {
        const int row = p / width - top, column = p % width - left, at = row * k->width + column;
        if (row < 0 || row >= k->height || column < 0 || column >= k->width)
            to[p] = 0.0f;
        else
            to[p] = k->is_coded ? palette[code[at]] : pixel[at];
    }
}

/* k: the sample's box; value: of the plane */
NPC_DEVICE void npc_fill_value(float *to, const float *value, const int *k, int height, int width)
{
    const float outside = value[0], inside = value[1];
    for (int p = (int)threadIdx.x; p < height * width; p += 256) {
        const int row = p / width, column = p % width;
        to[p] = row >= k[0] && row < k[1] && column >= k[2] && column < k[3] ? inside : outside;
    }
}

NPC_KERNEL(256) npc_fill_planes(float *x, const float *value, const int *box,
                                const NpcPicture *picture, const float *palette,
                                const uint8_t *packed, int pictures, int values, int frames,
                                int height, int width)
{
    const int each = (pictures + values) * frames, n = pictures * frames;
    const int b = (int)blockIdx.x / each, plane = (int)blockIdx.x % each;
    float *to = x + (unsigned long long)blockIdx.x * height * width;
    if (plane < n)
        npc_fill_picture(to, picture + b, palette + 256 * b, packed, plane, height, width);
    else
        npc_fill_value(to, value + 2ull * (b * (each - n) + plane - n), box + 4 * b, height, width);
}
