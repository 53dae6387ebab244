// From grey slices of any size to the bytes a graph reads: resize, then CLAHE, for a whole batch.
//
// The definition is neuroscan_edge/preprocess/reference.py; every byte here equals it. So no
// compiler may contract a product and a sum: each floating-point operation is an explicit
// intrinsic with its own rounding, and the PTX holds no fma.
//
// equalisation_luts   one block a tile and slice: resize the tile's pixels into `output`, count
//                     them, clip, sum up, and write the tile's look-up table.
// blend               four neighbouring pixels a thread: map `output` in place through the tables
//                     of the four tiles around each pixel.

// Bins of a histogram, levels of a pixel, threads of a block.
constexpr int BINS = 256;
constexpr int WARP = 32;
constexpr int WARPS = BINS / WARP;
// A tile is resized in patches, so that its coefficients fit whatever the tile's size.
constexpr int PATCH = 32;
constexpr unsigned ALL_LANES = 0xffffffffu;

// One slice of the batch: the packed batch starts with these, followed by the pixels.
// neuroscan_edge/preprocess/packing.py writes them.
struct Slice {
    unsigned long long offset;  // of the first pixel from the start of the packed batch, in bytes
    int height, width;          // in pixels, at least 1; at most 2^24 pixels in all
    double scale_y, scale_x;    // source pixels per output pixel
};
static_assert(sizeof(Slice) == 32, "the packed layout has no padding");

// The two source positions that an output position reads, and their weights of 11 bits.
struct Tap {
    int first, second;
    int weight_first, weight_second;
};

__device__ __forceinline__ int clamp(int value, int least, int most) {
    return min(max(value, least), most);
}

// Continue an image beyond its end as a mirror does, not repeating the edge (REFLECT_101).
__device__ __forceinline__ int reflect(int position, int size) {
    if (position < size) return position;
    if (size == 1) return 0;
    const int turned = position % (2 * (size - 1));
    return turned < size ? turned : 2 * (size - 1) - turned;
}

__device__ __forceinline__ Tap nearest_tap(int target, int source, double scale) {
    const int index = min(__double2int_rd(__dmul_rn((double)target, scale)), source - 1);
    return {index, index, 2048, 0};
}

// Equal size gives fraction 0, and exactly half size gives two halves: copying and the 2x2 box are
// this same arithmetic.
__device__ __forceinline__ Tap linear_tap(int target, int source, double scale, bool column) {
    const double centre = __dmul_rn(__dadd_rn((double)target, 0.5), scale);
    const float position = __double2float_rn(__dsub_rn(centre, 0.5));
    const float start = floorf(position);
    const int index = (int)start;
    float fraction = __fsub_rn(position, start);
    // Beyond the edge a column loses its fraction; a row keeps it and only its indices are clamped.
    if (column && (index < 0 || index >= source - 1)) fraction = 0.0f;
    Tap tap;
    tap.first = clamp(index, 0, source - 1);
    tap.second = clamp(index + 1, 0, source - 1);
    tap.weight_first = __float2int_rn(__fmul_rn(__fsub_rn(1.0f, fraction), 2048.0f));
    tap.weight_second = __float2int_rn(__fmul_rn(fraction, 2048.0f));
    return tap;
}

__device__ __forceinline__ int interpolate(const unsigned char* pixels, int width, Tap row,
                                           Tap column) {
    const unsigned char* upper = pixels + row.first * width;
    const unsigned char* lower = pixels + row.second * width;
    const int above = upper[column.first] * column.weight_first +
                      upper[column.second] * column.weight_second;
    const int below = lower[column.first] * column.weight_first +
                      lower[column.second] * column.weight_second;
    // Two truncated halves, not one rounded sum: that would differ on 6 % of pixels.
    const int sum = ((row.weight_first * (above >> 4)) >> 16) +
                    ((row.weight_second * (below >> 4)) >> 16);
    return min((sum + 2) >> 2, 255);
}

// Inclusive sum over the block's threads. `warp_sums` is shared; read by all before it is reused.
__device__ __forceinline__ int sum_up_to(int value, int thread, int* warp_sums, int* total) {
    const int lane = thread % WARP;
    for (int distance = 1; distance < WARP; distance *= 2) {
        const int lower = __shfl_up_sync(ALL_LANES, value, distance);
        if (lane >= distance) value += lower;
    }
    if (lane == WARP - 1) warp_sums[thread / WARP] = value;
    __syncthreads();
    int before = 0, all = 0;
    for (int warp = 0; warp < WARPS; ++warp) {
        if (warp < thread / WARP) before += warp_sums[warp];
        all += warp_sums[warp];
    }
    *total = all;
    return before + value;
}

// Grid: (tile columns * tile rows, slices). Block: BINS threads.
//
// slices      which slices of the packed batch
// packed      the whole packed batch
// output      [slices, height, width] uint8: gets the resized pixels
// luts        [slices, tiles, BINS] uint8: gets the tables
// limit       most pixels a bin keeps
// lut_scale   float32(255) / float32(tile area)
extern "C" __global__ void __launch_bounds__(BINS)
equalisation_luts(const Slice* __restrict__ slices, const unsigned char* __restrict__ packed,
                  unsigned char* output, unsigned char* luts, int height, int width,
                  int tile_columns, int tile_height, int tile_width, int limit, float lut_scale,
                  int nearest) {
    __shared__ int histogram[BINS];
    __shared__ int warp_sums[WARPS];
    __shared__ Tap columns[PATCH];
    __shared__ Tap rows[PATCH];

    const int thread = threadIdx.x;
    const int left = blockIdx.x % tile_columns * tile_width;
    const int top = blockIdx.x / tile_columns * tile_height;
    const Slice slice = slices[blockIdx.y];
    const unsigned char* pixels = packed + slice.offset;
    unsigned char* resized = output + (size_t)blockIdx.y * height * width;

    histogram[thread] = 0;
    for (int patch_y = 0; patch_y < tile_height; patch_y += PATCH) {
        for (int patch_x = 0; patch_x < tile_width; patch_x += PATCH) {
            const int patch_height = min(PATCH, tile_height - patch_y);
            const int patch_width = min(PATCH, tile_width - patch_x);
            // The last tiles reach beyond the image where their number does not divide its side.
            if (thread < PATCH) {
                const int x = reflect(left + patch_x + thread, width);
                columns[thread] = nearest ? nearest_tap(x, slice.width, slice.scale_x)
                                          : linear_tap(x, slice.width, slice.scale_x, true);
            } else if (thread < 2 * PATCH) {
                const int y = reflect(top + patch_y + thread - PATCH, height);
                rows[thread - PATCH] = nearest ? nearest_tap(y, slice.height, slice.scale_y)
                                               : linear_tap(y, slice.height, slice.scale_y, false);
            }
            // The taps are there, and in the first patch the histogram is zero.
            __syncthreads();
            const int x = thread % PATCH;
            if (x < patch_width) {
                for (int y = thread / PATCH; y < patch_height; y += BINS / PATCH) {
                    const int level = interpolate(pixels, slice.width, rows[y], columns[x]);
                    atomicAdd(&histogram[level], 1);
                    const int image_x = left + patch_x + x, image_y = top + patch_y + y;
                    if (image_x < width && image_y < height) {
                        resized[image_y * width + image_x] = (unsigned char)level;
                    }
                }
            }
            // Everyone is done with these taps, and after the last patch everything is counted.
            __syncthreads();
        }
    }

    // What the clipped bins lose goes to all bins alike, and the rest singly to bins 0, step, ...
    // Its share of each sum follows from the bin's number, so that one pass of sums is enough.
    int kept;
    const int sum = sum_up_to(min(histogram[thread], limit), thread, warp_sums, &kept);
    const int excess = tile_height * tile_width - kept;
    const int residual = excess % BINS;
    int cumulative = sum + (thread + 1) * (excess / BINS);
    if (residual > 0) cumulative += min(thread / (BINS / residual) + 1, residual);
    const int level = __float2int_rn(__fmul_rn(__int2float_rn(cumulative), lut_scale));
    luts[((size_t)blockIdx.y * gridDim.x + blockIdx.x) * BINS + thread] =
        (unsigned char)min(level, 255);
}

// The two tiles that a position lies between, and how far it is to the second.
struct Between {
    int first, second;
    float to_first, to_second;
};

__device__ __forceinline__ Between between_tiles(int position, float inverse_tile, int tiles) {
    const float place = __fsub_rn(__fmul_rn(__int2float_rn(position), inverse_tile), 0.5f);
    const float start = floorf(place);
    const int index = (int)start;
    const float fraction = __fsub_rn(place, start);
    return {max(index, 0), min(index + 1, tiles - 1), __fsub_rn(1.0f, fraction), fraction};
}

// Grid: (enough for a plane, slices). Block: any; a thread has four neighbouring pixels.
//
// output        [slices, height, width] uint8, the first pixel at an address divisible by 4:
//               resized pixels, replaced by equalised ones
// luts          [slices, tile_rows, tile_columns, BINS] uint8
// inverse_*     1.0f / side of a tile
extern "C" __global__ void __launch_bounds__(BINS)
blend(unsigned char* output, const unsigned char* __restrict__ luts, int height, int width,
      int tile_columns, int tile_rows, float inverse_height, float inverse_width) {
    const int plane = height * width;
    const int first = 4 * (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (first >= plane) return;
    unsigned char* pixels = output + (size_t)blockIdx.y * plane + first;
    const unsigned char* tables = luts + (size_t)blockIdx.y * tile_rows * tile_columns * BINS;
    const int count = min(4, plane - first);
    // Where planes are no multiple of four, a slice may start in the middle of a word.
    const bool words = plane % 4 == 0;

    unsigned before = 0, after = 0;
    if (words) {
        before = *reinterpret_cast<const unsigned*>(pixels);
    } else {
        for (int i = 0; i < count; ++i) before |= (unsigned)pixels[i] << (8 * i);
    }
    int x = first % width, y = first / width;
    Between row = between_tiles(y, inverse_height, tile_rows);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        if (i == count) break;
        const int level = before >> (8 * i) & 255;
        const Between column = between_tiles(x, inverse_width, tile_columns);
        const unsigned char* upper = tables + (size_t)row.first * tile_columns * BINS + level;
        const unsigned char* lower = tables + (size_t)row.second * tile_columns * BINS + level;
        const float left_upper = __int2float_rn(upper[column.first * BINS]);
        const float right_upper = __int2float_rn(upper[column.second * BINS]);
        const float left_lower = __int2float_rn(lower[column.first * BINS]);
        const float right_lower = __int2float_rn(lower[column.second * BINS]);
        // In this order and rounded at each step, as the reference does.
        const float above = __fadd_rn(__fmul_rn(left_upper, column.to_first),
                                      __fmul_rn(right_upper, column.to_second));
        const float below = __fadd_rn(__fmul_rn(left_lower, column.to_first),
                                      __fmul_rn(right_lower, column.to_second));
        const float mixed = __fadd_rn(__fmul_rn(above, row.to_first),
                                      __fmul_rn(below, row.to_second));
        after |= (unsigned)__float2int_rn(mixed) << (8 * i);
        if (++x == width) {
            x = 0;
            ++y;
            row = between_tiles(y, inverse_height, tile_rows);
        }
    }
    if (words) {
        *reinterpret_cast<unsigned*>(pixels) = after;
    } else {
        for (int i = 0; i < count; ++i) pixels[i] = (unsigned char)(after >> (8 * i));
    }
}
