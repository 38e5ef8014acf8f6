/* Softmax and sigmoid losses over sparse labels, with gradients and top-1/top-5.
 *
 * A block takes a row. First pass over its logits: the sums the loss needs (softmax: the running maximum and the sum of
 * exponentials below it), and how many classes come before the row's best label. Second pass, when gradients are
 * wanted: targets are smoothing / K everywhere plus a few labels, so all classes get the dense part, and behind a
 * barrier the labels' own classes are written again in full. Reads logits once from memory and once from cache (a row
 * is at most 87 KB), writes dlogits once. Bound by memory; small beside the rest of a step. Rows' results go to the
 * workspace; one block adds them in order. */
#include "backend/cuda/op.cuh"
#include "backend/cuda/reduce.cuh"

enum { MAX_THREADS = 1024, FINISH_THREADS = 256, WARPS_MAX = MAX_THREADS / WARP_SIZE, BATCH = 4 };

struct loss_plan {
    struct op_plan plan;
    struct loss_desc desc;
    int threads;
};

struct row_result {
    double loss;
    int valid, best; /* rank of the best label; classes = none */
};

template <typename G> struct loss_kernel_args {
    const float *logits;
    const int32_t *label_id;
    const float *label_weight, *row_weight;
    G *dlogits; /* may be NULL */
    row_result *results;
    int classes, labels;
    float smoothing, grad_scale;
};

/* A row's sums, each over all classes. */
struct logit_sums {
    float largest, exponentials; /* softmax */
    float losses;                /* sigmoid: max(z, 0) + log(1 + exp(-|z|)) */
    float total;                 /* of z, when smoothing */
    int before;                  /* classes before the best label */
};

/* Does class k come before the label of logit z? Ties in class order; a NaN comes last. */
__device__ inline bool comes_before(float other, int k, float z, int id)
{
    return other > z || (other == z && k < id);
}

/* The label of positive weight with the best logit: the others rank behind it. -1: none, or NaN. */
template <typename G> __device__ inline int best_label(const loss_kernel_args<G> &a, const float *z, int64_t row)
{
    int best = -1;
    for (int s = 0; s < a.labels; s++) {
        int id = a.label_id[row * a.labels + s];
        if (id >= a.classes)
            device_trap(); /* the loader checks labels */
        if (id < 0 || !(a.label_weight[row * a.labels + s] > 0) || z[id] != z[id])
            continue;
        if (best < 0 || comes_before(z[id], id, z[best], best))
            best = id;
    }
    return best;
}

/* The running maximum and sum of exponentials of two sets of logits, as of their union. */
__device__ inline void merge(float *largest, float *sum, float other_largest, float other_sum)
{
    float top = fmaxf(*largest, other_largest);
    if (top == -INFINITY) { /* nothing yet, or all -inf: exp(-inf - -inf) would be NaN; a NaN stays one */
        *sum += other_sum;
        return;
    }
    *sum = *sum * expf(*largest - top) + other_sum * expf(other_largest - top);
    *largest = top;
}

__device__ inline void merge_block(float *largest, float *sum, float *scratch)
{
    int lane = (int)threadIdx.x % WARP_SIZE, warp = (int)threadIdx.x / WARP_SIZE;
#pragma unroll
    for (int bits = WARP_SIZE / 2; bits > 0; bits /= 2) {
        float other = __shfl_xor_sync((unsigned)ALL_LANES, *largest, bits);
        merge(largest, sum, other, __shfl_xor_sync((unsigned)ALL_LANES, *sum, bits));
    }
    __syncthreads();
    if (lane == 0) {
        scratch[2 * warp] = *largest;
        scratch[2 * warp + 1] = *sum;
    }
    __syncthreads();
    *largest = scratch[0];
    *sum = scratch[1];
    for (int w = 1; w < (int)blockDim.x / WARP_SIZE; w++)
        merge(largest, sum, scratch[2 * w], scratch[2 * w + 1]);
}

/* Logits k, k + stride, ... of a batch: all under way at once. Past the classes: -inf. */
__device__ inline void load_batch(const float *z, int classes, int k, float value[BATCH])
{
#pragma unroll
    for (int j = 0; j < BATCH; j++) {
        int at = k + j * (int)blockDim.x;
        value[j] = at < classes ? z[at] : -INFINITY;
    }
}

/* Adds a batch to the running maximum and sum of exponentials. A NaN makes the sum one. */
__device__ inline void merge_batch(float *largest, float *sum, const float value[BATCH])
{
    float top = *largest;
#pragma unroll
    for (int j = 0; j < BATCH; j++)
        top = fmaxf(top, value[j]);
    float shift = top == -INFINITY ? 0.0f : top, added = 0;
#pragma unroll
    for (int j = 0; j < BATCH; j++)
        added += expf(value[j] - shift);
    *sum = *sum * expf(*largest - shift) + added;
    *largest = top;
}

template <enum loss_kind KIND>
__device__ inline logit_sums sum_logits(const float *z, int classes, int best, bool smoothing)
{
    SHARED_ARRAY(float, scratch, 2 * WARPS_MAX);
    SHARED_ARRAY(int, counts, WARPS_MAX);
    logit_sums sums = {-INFINITY, 0, 0, 0, 0};
    float best_z = best < 0 ? 0 : z[best];
    for (int first = (int)threadIdx.x; first < classes; first += BATCH * (int)blockDim.x) {
        float value[BATCH];
        load_batch(z, classes, first, value);
        if (KIND == LOSS_SOFTMAX)
            merge_batch(&sums.largest, &sums.exponentials, value);
#pragma unroll
        for (int j = 0; j < BATCH; j++) {
            int k = first + j * (int)blockDim.x;
            if (k >= classes)
                break;
            if (KIND == LOSS_SIGMOID)
                sums.losses += fmaxf(value[j], 0.0f) + log1pf(expf(-fabsf(value[j])));
            sums.total += value[j];
            sums.before += best >= 0 && comes_before(value[j], k, best_z, best);
        }
    }
    if (KIND == LOSS_SOFTMAX)
        merge_block(&sums.largest, &sums.exponentials, scratch);
    else
        sums.losses = block_sum(sums.losses, scratch);
    sums.total = smoothing ? block_sum(sums.total, scratch) : 0.0f;
    sums.before = block_sum(sums.before, counts);
    return sums;
}

/* Sum over labels of weight (the row's target mass, less smoothing), and of weight * (z - shift). */
template <typename G>
__device__ inline float2 sum_labels(const loss_kernel_args<G> &a, const float *z, int64_t row, float shift)
{
    float2 sum = make_float2(0, 0);
    for (int s = 0; s < a.labels; s++) {
        int id = a.label_id[row * a.labels + s];
        float weight = (1.0f - a.smoothing) * a.label_weight[row * a.labels + s];
        if (id < 0 || weight == 0)
            continue;
        sum.x += weight;
        sum.y += weight * (z[id] - shift);
    }
    return sum;
}

/* d loss / dz = coefficient * softmax or sigmoid - target. */
template <enum loss_kind KIND> __device__ inline float slope(float z, float log_sum, float mass, float target)
{
    if (KIND == LOSS_SOFTMAX)
        return mass * expf(z - log_sum) - target;
    return 1.0f / (1.0f + expf(-z)) - target;
}

/* All classes with the dense target, then the labels' classes with theirs, each by the first of the labels that share it. */
template <enum loss_kind KIND, typename G>
__device__ inline void write_slopes(const loss_kernel_args<G> &a, const float *z, int64_t row, float log_sum,
                                    float mass)
{
    G *to = a.dlogits + row * a.classes;
    float dense = a.smoothing / (float)a.classes;
    for (int first = (int)threadIdx.x; first < a.classes; first += BATCH * (int)blockDim.x) {
        float value[BATCH];
        load_batch(z, a.classes, first, value);
#pragma unroll
        for (int j = 0; j < BATCH; j++) {
            int k = first + j * (int)blockDim.x;
            if (k < a.classes)
                to[k] = from_float<G>(a.grad_scale * slope<KIND>(value[j], log_sum, mass, dense));
        }
    }
    __syncthreads();
    for (int s = (int)threadIdx.x; s < a.labels; s += (int)blockDim.x) {
        int id = a.label_id[row * a.labels + s];
        if (id < 0)
            continue;
        float target = dense;
        bool repeated = false;
        for (int other = 0; other < a.labels; other++)
            if (a.label_id[row * a.labels + other] == id) {
                target += (1.0f - a.smoothing) * a.label_weight[row * a.labels + other];
                repeated |= other < s;
            }
        if (!repeated)
            to[id] = from_float<G>(a.grad_scale * slope<KIND>(z[id], log_sum, mass, target));
    }
}

template <enum loss_kind KIND, typename G>
__global__ void __launch_bounds__(MAX_THREADS) loss_kernel(loss_kernel_args<G> a)
{
    const int64_t row = blockIdx.x;
    const float *z = a.logits + row * a.classes;
    if (a.row_weight[row] == 0) {
        for (int k = (int)threadIdx.x; a.dlogits && k < a.classes; k += (int)blockDim.x)
            a.dlogits[row * a.classes + k] = from_float<G>(0.0f);
        if (threadIdx.x == 0)
            a.results[row] = row_result{0, 0, a.classes};
        return;
    }
    int best = best_label(a, z, row);
    logit_sums sums = sum_logits<KIND>(z, a.classes, best, a.smoothing > 0);
    float shift = KIND == LOSS_SOFTMAX ? sums.largest : 0.0f;
    float2 labels = sum_labels(a, z, row, shift);
    float mass = labels.x + a.smoothing, log_sum = logf(sums.exponentials), dense = a.smoothing / (float)a.classes;
    if (threadIdx.x == 0) {
        float loss = KIND == LOSS_SOFTMAX ? mass * log_sum : sums.losses;
        loss -= labels.y + (a.smoothing > 0 ? dense * (sums.total - (float)a.classes * shift) : 0.0f);
        a.results[row] = row_result{loss, 1, best < 0 ? a.classes : sums.before};
    }
    if (a.dlogits)
        write_slopes<KIND>(a, z, row, shift + log_sum, mass);
}

/* One block: the rows in a fixed order. */
__global__ void __launch_bounds__(FINISH_THREADS)
    loss_finish_kernel(const row_result *results, int64_t batch, int classes, float *row_loss,
                       struct step_scalars *scalars)
{
    SHARED_ARRAY(double, scratch, FINISH_THREADS / WARP_SIZE);
    double loss = 0, valid = 0, correct1 = 0, correct5 = 0;
    for (int64_t b = threadIdx.x; b < batch; b += FINISH_THREADS) {
        row_result row = results[b];
        if (row_loss)
            row_loss[b] = (float)row.loss;
        loss += row.loss;
        valid += row.valid;
        correct1 += row.best < 1;
        correct5 += row.best < 5 && row.best < classes;
    }
    loss = block_sum(loss, scratch);
    valid = block_sum(valid, scratch);
    correct1 = block_sum(correct1, scratch);
    correct5 = block_sum(correct5, scratch);
    if (threadIdx.x != 0)
        return;
    scalars->loss_sum += loss;
    scalars->weight_sum += valid;
    scalars->correct1 += (uint64_t)correct1;
    scalars->correct5 += (uint64_t)correct5;
}

static void loss_forward_backward(struct op_plan *plan, const struct loss_args *args)
{
    struct loss_plan *p = (struct loss_plan *)plan;
    const struct loss_desc *d = &p->desc;
    row_result *results = (row_result *)cuda_workspace(plan);
    with_type(d->dtype_grad, [&](auto zero) {
        using G = decltype(zero);
        loss_kernel_args<G> a = {args->logits,       args->label_id,  args->label_weight, args->row_weight,
                                 (G *)args->dlogits, results,         (int)d->classes,    (int)d->labels,
                                 d->smoothing,       args->grad_scale};
        auto kernel = d->kind == LOSS_SOFTMAX ? loss_kernel<LOSS_SOFTMAX, G> : loss_kernel<LOSS_SIGMOID, G>;
        launch(plan->backend, "loss", kernel, dim3((unsigned)d->batch), dim3((unsigned)p->threads), 0, a);
    });
    launch(plan->backend, "loss_finish", loss_finish_kernel, dim3(1), dim3(FINISH_THREADS), 0, results, d->batch,
           d->classes, args->row_loss, args->scalars);
}

static vt_status plan_loss(struct backend *be, const struct loss_desc *desc, struct op_plan **plan)
{
    VT_CHECK(desc->batch > 0 && desc->classes > 0 && desc->labels > 0);
    VT_CHECK(desc->smoothing >= 0 && desc->smoothing <= 1);
    VT_CHECK(desc->batch <= INT32_MAX && desc->classes <= INT32_MAX / 2 && desc->labels <= INT32_MAX);
    VT_TRY(cuda_check_dtype("loss", desc->dtype_grad));
    struct loss_plan *made;
    VT_TRY(cuda_plan_new(be, "row per block", sizeof *made, (size_t)desc->batch * sizeof(row_result), (void **)&made));
    made->desc = *desc;
    made->threads =
        (int)least(MAX_THREADS, round_up(divide_up(desc->classes, 4), WARP_SIZE)); /* 4 classes a thread, or more */
    *plan = &made->plan;
    return VT_OK;
}

void cuda_loss_install(struct backend *be)
{
    be->nn.loss_plan = plan_loss;
    be->nn.loss_forward_backward = loss_forward_backward;
}
