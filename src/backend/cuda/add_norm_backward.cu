/* The backward of add_norm: dx, ddelta, and the column sums dweight, dbias, dls, ddelta_sum.
 *
 * A team of warps takes ROWS rows at a time, a thread 8 columns of each, so its sums over rows stay in registers and
 * the parameters are read once; a block is as many teams as fit. Each thread copies its own columns of the rows to come
 * to shared memory, STAGES - 1 turns ahead and without registers, so that memory is busy while a turn waits for its
 * sums: these cross the team's warps by the one barrier of a turn. At the end each block leaves its column sums, teams
 * added in order, and sum_partials adds those in order: no atomics. The grid is what fits the device at once. Moves dy,
 * x_out, dx_in, dx once, and ddelta where it is not dx: 4 or 5 widths of bf16 a row, and delta with LayerScale. Bound
 * by memory. Widths that 8 does not divide, or whose turns do not fit registers and shared memory: backward_narrow. */
#include "backend/cuda/add_norm_backward.cuh"

enum { ROWS = 2, MAX_WARPS = 12, PATH_TURNS = WARP_SIZE / ROWS };

struct column_parts { /* sums over the team's rows, for the thread's columns */
    float dweight[VECTOR], dbias[VECTOR], dls[VECTOR], ddelta[VECTOR];
};

/* ---- rows on their way through shared memory: [STAGES][warps][ROWS][dy, x_out, dx_in, delta][lanes][8]. A part is
 * what a warp has of a row of one tensor; a thread reads only what it copied itself. ---- */

enum { HALF_PART = WARP_SIZE * 16 };
template <typename T> constexpr int PART = WARP_SIZE *VECTOR *(int)sizeof(T);
template <typename T, typename R> constexpr int STAGES = sizeof(T) + sizeof(R) == 4 ? 3 : 2; /* as memory allows */
template <bool SCALE, typename T, typename R> constexpr int ROW_PARTS = (SCALE ? 2 : 1) * PART<T> + 2 * PART<R>;
/* Where each part of a row begins; dy's at 0. */
template <typename T> constexpr int X_PART = PART<T>;
template <typename T, typename R> constexpr int LATER_PART = PART<T> + PART<R>;
template <typename T, typename R> constexpr int DELTA_PART = PART<T> + 2 * PART<R>;

template <bool SCALE, typename T, typename R> static size_t stages_bytes(int threads)
{
    return (size_t)(threads / WARP_SIZE) * STAGES<T, R> * ROWS * ROW_PARTS<SCALE, T, R>;
}

__device__ inline int64_t element_of(const norm_shape &s, uint32_t row, int c)
{
    return (int64_t)((uint64_t)row * (uint32_t)s.width + (uint32_t)c);
}

/* 8 elements between global memory and this lane's 16 bytes of a part (and 16 in its second half). */
template <typename T> __device__ inline void copy_part(unsigned char *part, const T *from, bool valid)
{
    cp_async_16_or_zero(part, from, valid);
    if constexpr (sizeof(T) == sizeof(float))
        cp_async_16_or_zero(part + HALF_PART, from + 4, valid);
}

template <typename T> __device__ inline void load_part(const unsigned char *part, float value[VECTOR])
{
    packed8<T> packed;
    if constexpr (sizeof(T) == sizeof(float))
        packed = packed8<T>{*(const float4 *)part, *(const float4 *)(part + HALF_PART)};
    else
        packed = packed8<T>{*(const uint4 *)part};
    unpack8(packed, value);
}

template <bool SCALE, typename T, typename R>
__device__ inline void start_row(const backward_args<T, R> &a, uint32_t row, int c, unsigned char *parts)
{
    int64_t at = element_of(a.shape, row, c);
    copy_part(parts, a.dy + at, true);
    copy_part(parts + X_PART<T>, a.x_out + at, true);
    if (a.dx_in) {
        const R *later = later_of(a, row);
        copy_part(parts + LATER_PART<T, R>, later ? later + c : a.dx_in, later);
    }
    if (SCALE)
        copy_part(parts + DELTA_PART<T, R>, a.delta + at, true);
}

/* ---- a row's two passes ---- */

template <typename T, typename R>
__device__ inline row_sums read_row(const unsigned char *parts, float2 stats, const float *weight,
                                    column_parts &columns)
{
    row_sums sums = {0, 0};
    float dy[VECTOR], x[VECTOR];
    load_part<T>(parts, dy);
    load_part<R>(parts + X_PART<T>, x);
#pragma unroll
    for (int i = 0; i < VECTOR; i++) { /* with n / rstd for n */
        float product = dy[i] * (x[i] - stats.x);
        columns.dweight[i] += product * stats.y;
        columns.dbias[i] += dy[i];
        sums.g += dy[i] * weight[i];
        sums.gn += product * weight[i];
    }
    sums.gn *= stats.y;
    return sums;
}

/* The gradient of the branch from that of the sum, and its column sums. */
template <bool SCALE, typename T, typename R>
__device__ inline void scale_row(const backward_args<T, R> &a, uint32_t row, int c, const unsigned char *parts,
                                 float path, const float *ls, float total[VECTOR], column_parts &columns)
{
    if (a.shape.path.rate > 0 || a.shape.dropout.rate > 0) {
        float factor[VECTOR];
        branch_factors<VECTOR>(a.shape, branch_of(a.shape, row, path), NULL, c, factor);
#pragma unroll
        for (int i = 0; i < VECTOR; i++)
            total[i] = factor[i] == 0 ? 0.0f : total[i] * factor[i];
    }
    if (SCALE) {
        float delta[VECTOR];
        load_part<T>(parts + DELTA_PART<T, R>, delta);
#pragma unroll
        for (int i = 0; i < VECTOR; i++) {
            columns.dls[i] += total[i] != 0 ? total[i] * delta[i] : 0.0f;
            total[i] *= ls[i];
        }
    }
#pragma unroll
    for (int i = 0; i < VECTOR; i++)
        columns.ddelta[i] += total[i];
}

/* total = dx_in + rstd (g - (sum g + n sum g n) / D), and the branch's gradient from it. */
template <bool SCALE, typename T, typename R>
__device__ inline void write_row(const backward_args<T, R> &a, uint32_t row, int c, const unsigned char *parts,
                                 float2 stats, float path, const float *weight, const float *ls, row_sums sums,
                                 column_parts &columns)
{
    int64_t at = element_of(a.shape, row, c);
    float dy[VECTOR], x[VECTOR], total[VECTOR] = {};
    float mean_g = sums.g * a.shape.per_column, slope = sums.gn * a.shape.per_column * stats.y;
    load_part<T>(parts, dy);
    load_part<R>(parts + X_PART<T>, x);
    if (a.dx_in)
        load_part<R>(parts + LATER_PART<T, R>, total);
#pragma unroll
    for (int i = 0; i < VECTOR; i++)
        total[i] += stats.y * (dy[i] * weight[i] - (mean_g + (x[i] - stats.x) * slope));
    store8(a.dx + at, total);
    if (!a.ddelta && !a.sum_delta)
        return;
    scale_row<SCALE>(a, row, c, parts, path, ls, total, columns);
    if (a.ddelta)
        store8(a.ddelta + at, total);
}

/* The team's sums of each row. `scratch` is ROWS row_sums a warp, used by every second call only. */
__device__ inline void sum_rows(row_sums sums[ROWS], row_sums *scratch, int team_warps)
{
    int lane = (int)threadIdx.x % WARP_SIZE, warp = (int)threadIdx.x / WARP_SIZE;
    const row_sums *own = scratch + warp / team_warps * team_warps * ROWS;
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        sums[r].g = warp_sum(sums[r].g);
        sums[r].gn = warp_sum(sums[r].gn);
        if (lane == 0)
            scratch[warp * ROWS + r] = sums[r];
    }
    __syncthreads();
#pragma unroll
    for (int r = 0; r < ROWS; r++)
        sums[r] = own[r];
#pragma unroll 2
    for (int w = 1; w < team_warps; w++)
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            sums[r].g += own[w * ROWS + r].g;
            sums[r].gn += own[w * ROWS + r].gn;
        }
}

/* ---- column sums of a block ---- */

/* What the other teams summed, added in order in the first's threads; the others' are used up. `shared`: 8 floats a
 * thread. */
__device__ inline void add_teams(float value[VECTOR], float *shared, int team)
{
    __syncthreads(); /* shared may still be read */
    store8(shared + threadIdx.x * VECTOR, value);
    __syncthreads();
    for (int other = (int)threadIdx.x + team; (int)threadIdx.x < team && other < (int)blockDim.x; other += team) {
        float more[VECTOR];
        load8(shared + other * VECTOR, more);
#pragma unroll
        for (int i = 0; i < VECTOR; i++)
            value[i] += more[i];
    }
}

template <typename T, typename R>
__device__ inline void store_columns(const backward_args<T, R> &a, int c, column_parts &columns, bool scale,
                                     float *shared)
{
    int64_t next = (int64_t)gridDim.x * a.shape.width;
    float *to = a.partial + (int64_t)blockIdx.x * a.shape.width + c;
    bool own = (int)threadIdx.x < a.team_warps * WARP_SIZE && c < a.shape.width;
    add_teams(columns.dweight, shared, a.team_warps * WARP_SIZE);
    if (own)
        store8(to, columns.dweight);
    add_teams(columns.dbias, shared, a.team_warps * WARP_SIZE);
    if (own)
        store8(to + next, columns.dbias);
    if (scale) {
        add_teams(columns.dls, shared, a.team_warps * WARP_SIZE);
        if (own)
            store8(to + 2 * next, columns.dls);
    }
    if (a.sum_delta) {
        add_teams(columns.ddelta, shared, a.team_warps * WARP_SIZE);
        if (own)
            store8(to + 3 * next, columns.ddelta);
    }
}

template <bool SCALE, typename T, typename R>
__global__ void __launch_bounds__(MAX_WARPS *WARP_SIZE, SCALE ? 1 : 2) backward_kernel(backward_args<T, R> a)
{
    constexpr int LAST = STAGES<T, R> - 1, WARP_BYTES = ROWS * ROW_PARTS<SCALE, T, R>;
    SHARED_ARRAY(row_sums, scratch, 2 * MAX_WARPS * ROWS); /* in turns, so that one barrier a turn is enough */
    SHARED_DYNAMIC(unsigned char, stages);
    const int lane = (int)threadIdx.x % WARP_SIZE, warp = (int)threadIdx.x / WARP_SIZE, team = warp / a.team_warps,
              c = ((warp - team * a.team_warps) * WARP_SIZE + lane) * VECTOR;
    const uint32_t rows = (uint32_t)a.shape.rows, turn_rows = blockDim.x / WARP_SIZE / (unsigned)a.team_warps * ROWS,
                   step = gridDim.x * turn_rows;
    const int stage_bytes = (int)blockDim.x / WARP_SIZE * WARP_BYTES;
    const bool own = c < a.shape.width;
    unsigned char *const parts = stages + warp * WARP_BYTES + lane * 16;
    uint32_t row = blockIdx.x * turn_rows + (unsigned)team * ROWS; /* the team's first of this turn */
    float weight[VECTOR] = {}, ls[VECTOR] = {}, paths = 1.0f;
    float2 next_stats[ROWS] = {};
    column_parts columns = {};
    auto start = [&](uint32_t first, int at) {
#pragma unroll
        for (int r = 0; r < ROWS; r++)
            if (own && first + r < rows)
                start_row<SCALE>(a, first + r, c, parts + at + r * ROW_PARTS<SCALE, T, R>);
        cp_async_commit();
    };
    auto fetch_stats = [&](uint32_t first) {
#pragma unroll
        for (int r = 0; r < ROWS; r++)
            if (first + r < rows)
                next_stats[r] = *(const float2 *)(a.stats + 2 * (int64_t)(first + r));
    };
#pragma unroll
    for (int i = 0; i < LAST; i++)
        start(row + i * step, i * stage_bytes);
    fetch_stats(row);
    if (own) {
        load8(a.weight + c, weight);
        if (SCALE)
            load8(a.ls + c, ls);
    }
    int at = 0, turn = 0;
    for (uint32_t base = blockIdx.x * turn_rows; base < rows; base += step, row += step) {
        row_sums sums[ROWS] = {};
        float2 stats[ROWS];
        float path[ROWS];
        start(row + LAST * step, at == 0 ? LAST * stage_bytes : at - stage_bytes);
        if (a.shape.path.rate > 0 && turn % PATH_TURNS == 0) { /* those of some turns, one a lane */
            uint32_t drawn = row + (unsigned)(lane / ROWS) * step + (unsigned)(lane % ROWS);
            paths = path_of(a.shape, drawn < rows ? drawn : 0);
        }
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            stats[r] = next_stats[r];
            path[r] = __shfl_sync((unsigned)ALL_LANES, paths, turn % PATH_TURNS * ROWS + r);
        }
        fetch_stats(row + step);
        cp_async_wait<LAST>();
#pragma unroll
        for (int r = 0; r < ROWS; r++)
            if (own && row + r < rows)
                sums[r] = read_row<T, R>(parts + at + r * ROW_PARTS<SCALE, T, R>, stats[r], weight, columns);
        sum_rows(sums, scratch + turn % 2 * MAX_WARPS * ROWS, a.team_warps);
#pragma unroll
        for (int r = 0; r < ROWS; r++)
            if (own && row + r < rows)
                write_row<SCALE>(a, row + r, c, parts + at + r * ROW_PARTS<SCALE, T, R>, stats[r], path[r], weight, ls,
                                 sums[r], columns);
        at = at == LAST * stage_bytes ? 0 : at + stage_bytes;
        turn++;
    }
    cp_async_wait<0>();
    store_columns(a, c, columns, SCALE, (float *)stages);
}

template <typename T, typename R> using backward_kernel_of = void (*)(backward_args<T, R>);

template <typename T, typename R> static backward_kernel_of<T, R> team_kernel(const struct add_norm_desc *d)
{
    return d->layer_scale ? backward_kernel<true, T, R> : backward_kernel<false, T, R>;
}

/* The teams a block that keep most threads busy; of these, most a block: fewer partial sums. None may fit. */
template <typename T, typename R> static int fit_teams(const struct add_norm_desc *d, struct add_norm_grid *grid)
{
    int busy = 0, per_sm = 0, team = (int)round_up(divide_up(d->width, VECTOR), WARP_SIZE);
    for (int threads = team; threads <= MAX_WARPS * WARP_SIZE; threads += team) {
        size_t shared = d->layer_scale ? stages_bytes<true, T, R>(threads) : stages_bytes<false, T, R>(threads);
        int blocks = blocks_per_multiprocessor(team_kernel<T, R>(d), threads, shared);
        if (blocks == 0 || blocks * threads < busy)
            continue;
        busy = blocks * threads;
        per_sm = blocks;
        *grid = add_norm_grid{0, threads, team, shared};
    }
    return per_sm;
}

/* As many blocks as run at once, and no more than there are rows for. */
struct add_norm_grid add_norm_backward_grid(struct backend *be, const struct add_norm_desc *d)
{
    struct add_norm_grid grid = {0, NARROW_THREADS, 0, MAX_COLUMN_SUMS * (size_t)d->width * sizeof(float)};
    int64_t rows = d->batch * d->tokens, fit = 0, a_turn = 1;
    if (d->width % VECTOR == 0)
        with_type(d->dtype, [&](auto t) {
            with_type(d->dtype_stream, [&](auto r) { fit = fit_teams<decltype(t), decltype(r)>(d, &grid); });
        });
    if (fit == 0)
        fit = NARROW_BLOCKS_PER_SM;
    else
        a_turn = grid.threads / grid.team * ROWS;
    grid.blocks = (int)least(fit * cuda_sm_count(be), divide_up(rows, a_turn));
    return grid;
}

template <typename T, typename R>
static void backward(struct add_norm_plan *plan, const struct add_norm_backward_args *args,
                     const struct op_random *random)
{
    const struct add_norm_desc *d = &plan->desc;
    const struct add_norm_grid *grid = &plan->backward;
    backward_args<T, R> a = {(const T *)args->dy,
                             (const R *)args->x_out,
                             args->stats,
                             d->layer_scale ? args->ls : NULL,
                             args->weight,
                             (const T *)args->delta,
                             (const R *)args->dx_in,
                             (R *)args->dx,
                             d->has_delta && args->ddelta != args->dx ? (T *)args->ddelta : NULL,
                             d->has_delta,
                             d->dx_in_first,
                             d->has_delta && args->ddelta_sum,
                             grid->team / WARP_SIZE,
                             (float *)cuda_workspace(&plan->plan),
                             shape_of(plan, random)};
    launch(plan->plan.backend, "add_norm_backward", grid->team ? team_kernel<T, R>(d) : backward_narrow<T, R>,
           dim3((unsigned)grid->blocks), dim3((unsigned)grid->threads), grid->shared_bytes, a);
}

void cuda_add_norm_backward(struct op_plan *plan, const struct add_norm_backward_args *args,
                            const struct op_random *random)
{
    struct add_norm_plan *p = (struct add_norm_plan *)plan;
    const struct add_norm_desc *d = &p->desc;
    VT_CHECK(add_norm_backward_ok(d, args));
    with_type(d->dtype, [&](auto t) {
        with_type(d->dtype_stream, [&](auto r) { backward<decltype(t), decltype(r)>(p, args, random); });
    });
    struct column_sums sums = {
        {args->dweight, args->dbias, d->layer_scale ? args->dls : NULL, d->has_delta ? args->ddelta_sum : NULL}};
    sum_partials(plan->backend, (const float *)cuda_workspace(plan), p->backward.blocks, d->width, sums,
                 args->accumulate);
}
