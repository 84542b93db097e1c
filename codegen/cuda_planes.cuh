/* Planes of an input: rows that hold one value per sample and frame, another inside of the sample's
 * box (InputPlanes in runtime/device.h). Follows cuda_prelude. A block fills a plane.
 *
 * x [b, first + rows, frames, height, width]; value [b, rows, frames, 2]: outside, inside;
 * box [b, 4]: top, bottom, left, right, ends exclusive. */
NPC_KERNEL(256) npc_fill_planes(float *x, const float *value, const int *box, int first, int rows,
                                int frames, int height, int width)
{
    const int plane = (int)blockIdx.x, each = rows * frames, b = plane / each;
    const int *k = box + 4 * b;
    const float outside = value[2 * plane], inside = value[2 * plane + 1];
    const unsigned long long before = (unsigned long long)(b + 1) * first * frames + plane;
    float *to = x + before * height * width;
    for (int p = (int)threadIdx.x; p < height * width; p += 256) {
        const int row = p / width, column = p % width;
        to[p] = row >= k[0] && row < k[1] && column >= k[2] && column < k[3] ? inside : outside;
    }
}
