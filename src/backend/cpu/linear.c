/* Linear layers on our own matrix kernels: the weight (or, for its gradient, both operands) is packed into the
 * workspace by the whole team, then parts are blocks of rows (few rows: columns) which finish each hot tile with bias
 * and activation. */
#include "backend/cpu/cpu.h"

#include <string.h>

#include "backend/cpu/onednn_product.h"

enum {
    ROW_BLOCK = 48,    /* rows of x whose tiles stay in L1/L2 while panels pass */
    COLUMN_GROUP = 4,  /* panels per tile of products, at most */
    DEPTH_BLOCK = 1024 /* token rows summed in registers before dw is touched: part of the result's definition */
};

struct linear_plan {
    struct op_plan plan;
    struct linear_desc desc;
    enum gemm_mode mode;
    enum gemm_mode gradient_mode;                         /* of dw: fp32 where dy is fp32, which bf16 would round */
    int64_t panels_offset, scratch_offset, scratch_bytes; /* of the workspace: packed operand; then per thread */
    int64_t dy_offset;                                    /* packed dy of the weight gradient, after packed x */
    /* by oneDNN instead (NULL = own kernels): y and dx as fp32 in the workspace at 0, finished by the epilogue; dw in
     * place */
    struct onednn_product *forward, *input, *weight[2]; /* weight: overwrites, accumulates */
    int64_t onednn_offset;                              /* its workspace, after the fp32 product */
};

/* One product c(rows, columns) = a b with its epilogue; b packed by the team. */
struct product {
    const struct linear_plan *plan;
    bool backward; /* dx = dy w, else y = x w^T */
    int64_t rows, columns, depth;
    const void *a;
    enum dtype a_dtype;
    int64_t a_stride;
    const void *w;
    struct epilogue epilogue; /* pointers at element 0 of the whole tensors */
};

static int64_t panel_bytes(const struct cpu_kernels *k, int64_t words)
{
    return words * k->width * 4;
}

static int64_t operand_bytes(const struct cpu_kernels *k, enum gemm_mode mode, int64_t columns, int64_t depth)
{
    return round_up(columns, k->width) / k->width * panel_bytes(k, gemm_words(mode, depth));
}

static bool needs_conversion(enum gemm_mode mode, enum dtype dtype, int64_t depth)
{
    return mode == GEMM_BF16 ? dtype != DTYPE_BF16 || depth % 2 != 0 : dtype != DTYPE_F32;
}

/* b: the part's share of the panels. */
static void pack_weight(void *context, int part, int parts, int worker)
{
    const struct product *p = context;
    const struct cpu_kernels *k = cpu_of(&p->plan->plan)->kernels;
    const struct linear_desc *d = &p->plan->desc;
    int64_t bytes = panel_bytes(k, gemm_words(p->plan->mode, p->depth));
    struct cpu_range own = cpu_share(p->columns, k->width, part, parts);
    char *to = cpu_workspace(&p->plan->plan) + own.begin / k->width * bytes;
    (void)worker;
    if (p->backward)
        k->pack_rows(p->plan->mode, at_element(p->w, d->dtype, own.begin), d->dtype, d->in, p->depth,
                     own.end - own.begin, to, bytes, NULL);
    else
        k->pack_transposed(p->plan->mode, at_element(p->w, d->dtype, own.begin * d->in), d->dtype, d->in,
                           own.end - own.begin, p->depth, to, bytes);
}

static void finish_tile(const struct product *p, const float *c, int64_t c_row, int64_t row, int64_t rows,
                        int64_t column, int64_t columns)
{
    const struct cpu_kernels *k = cpu_of(&p->plan->plan)->kernels;
    struct epilogue e = p->epilogue;
    e.c = c;
    e.c_row = c_row;
    e.rows = rows;
    e.columns = columns;
    e.bias = e.bias ? e.bias + column : NULL;
    e.y = at_element(e.y, e.dtype_out, row * e.y_row + column);
    e.pre = e.pre ? at_element(e.pre, e.dtype, row * e.pre_row + column) : NULL;
    (p->backward ? k->epilogue_backward : k->epilogue_forward)(&e);
}

static void multiply_block(const struct product *p, const char *panels, char *scratch, struct cpu_range rows,
                           struct cpu_range columns)
{
    const struct cpu_kernels *k = cpu_of(&p->plan->plan)->kernels;
    const enum gemm_mode mode = p->plan->mode;
    const int64_t words = gemm_words(mode, p->depth), group = COLUMN_GROUP * k->width, bytes = panel_bytes(k, words);
    float *c = (float *)scratch;
    struct gemm_call call = {.mode = mode,
                             .rows = rows.end - rows.begin,
                             .words = words,
                             .a_step = 4,
                             .b_panel = bytes,
                             .c = c,
                             .c_row = group};
    const char *a = at_element(p->a, p->a_dtype, rows.begin * p->a_stride);
    if (needs_conversion(mode, p->a_dtype, p->depth)) {
        char *converted = scratch + ROW_BLOCK * group * 4;
        k->convert_rows(mode, a, p->a_dtype, p->a_stride, call.rows, p->depth, converted);
        call.a = converted;
        call.a_row = words * 4;
    } else {
        call.a = a;
        call.a_row = p->a_stride * dtype_size(p->a_dtype);
    }
    for (int64_t column = columns.begin, step; column < columns.end; column += step) {
        int64_t left = (columns.end - column + k->width - 1) / k->width;
        step = (left % 3 == 1 && left >= 4 ? 4 : left < 3 ? left : 3) * k->width;
        call.columns = least(step, columns.end - column);
        call.b = panels + column / k->width * bytes;
        k->gemm(&call);
        finish_tile(p, c, group, rows.begin, call.rows, column, call.columns);
    }
}

/* Few rows are not worth cutting: columns are then. */
static bool cut_by_rows(const struct product *p)
{
    return p->rows >= 8 * p->plan->plan.backend->threads;
}

static void multiply(void *context, int part, int parts, int worker)
{
    const struct product *p = context;
    char *workspace = cpu_workspace(&p->plan->plan);
    char *scratch = workspace + p->plan->scratch_offset + worker * p->plan->scratch_bytes;
    struct cpu_range rows = {0, p->rows}, columns = {0, p->columns};
    if (cut_by_rows(p))
        rows = cpu_share(p->rows, 1, part, parts);
    else
        columns = cpu_share(p->columns, cpu_of(&p->plan->plan)->kernels->width, part, parts);
    for (struct cpu_range block = rows; block.begin < rows.end; block.begin = block.end) {
        block.end = least(block.begin + ROW_BLOCK, rows.end);
        multiply_block(p, workspace, scratch, block, columns);
    }
}

/* The epilogue of a product that lies in the workspace, by rows. */
static void finish_rows(void *context, int part, int parts, int worker)
{
    (void)worker;
    const struct product *p = context;
    const float *c = (const float *)cpu_workspace(&p->plan->plan);
    struct cpu_range rows = cpu_share(p->rows, 1, part, parts);
    if (rows.begin < rows.end)
        finish_tile(p, c + rows.begin * p->columns, p->columns, rows.begin, rows.end - rows.begin, 0, p->columns);
}

static void run_product(const struct linear_plan *p, struct onednn_product *onednn, struct product *product)
{
    const struct backend *be = p->plan.backend;
    const int64_t width = cpu_of(&p->plan)->kernels->width, panels = (product->columns + width - 1) / width;
    if (onednn) {
        char *workspace = cpu_workspace(&p->plan);
        onednn_product_run(onednn, product->a, product->w, (float *)workspace, workspace + p->onednn_offset);
        cpu_parallel(be, cpu_parts(be, product->rows), finish_rows, product);
        return;
    }
    cpu_parallel(be, cpu_parts(be, panels), pack_weight, product);
    int64_t blocks =
        round_up((product->rows + ROW_BLOCK - 1) / ROW_BLOCK, be->threads); /* equal numbers of equal blocks */
    cpu_parallel(be, cut_by_rows(product) ? blocks : cpu_parts(be, panels), multiply, product);
}

static void linear_forward(struct op_plan *plan, const struct linear_forward_args *args)
{
    const struct linear_plan *p = (const struct linear_plan *)plan;
    const struct linear_desc *d = &p->desc;
    VT_CHECK((!d->bias || args->b) && (!d->forward_only || !args->pre));
    struct product product = {
        .plan = p,
        .rows = d->rows,
        .columns = d->out,
        .depth = d->in,
        .a = args->x,
        .a_dtype = d->dtype,
        .a_stride = d->x_stride,
        .w = args->w,
        .epilogue = {.act = d->act,
                     .bias = d->bias ? args->b : NULL,
                     .pre = args->pre,
                     .pre_row = d->out,
                     .y = args->y,
                     .y_row = d->out,
                     .dtype = d->dtype,
                     .dtype_out = d->dtype_out},
    };
    run_product(p, p->forward, &product);
}

/* to[columns] (accumulate) = column sums, each thread its columns, row by row. */
struct column_sums {
    const struct linear_plan *plan;
    const void *x;
    enum dtype dtype;
    int64_t rows, columns, stride;
    float *to;
    bool accumulate;
};

static void sum_columns(void *context, int part, int parts, int worker)
{
    (void)worker;
    const struct column_sums *s = context;
    struct cpu_range own = cpu_share(s->columns, 64, part, parts);
    if (!s->accumulate)
        memset(s->to + own.begin, 0, (size_t)(own.end - own.begin) * sizeof *s->to);
    for (int64_t m = 0; m < s->rows; m++)
        cpu_of(&s->plan->plan)
            ->kernels->add_row(s->to + own.begin, at_element(s->x, s->dtype, m * s->stride + own.begin), s->dtype, NULL,
                               own.end - own.begin);
}

static void run_sums(struct column_sums sums)
{
    const struct backend *be = sums.plan->plan.backend;
    cpu_parallel(be, cpu_parts(be, (sums.columns + 63) / 64), sum_columns, &sums);
}

static void linear_backward_input(struct op_plan *plan, const struct linear_input_args *args)
{
    const struct linear_plan *p = (const struct linear_plan *)plan;
    const struct linear_desc *d = &p->desc;
    VT_CHECK(!d->forward_only && (d->input_act == ACT_NONE || (args->input_pre && !args->accumulate)));
    struct product product = {
        .plan = p,
        .backward = true,
        .rows = d->rows,
        .columns = d->in,
        .depth = d->out,
        .a = args->dy,
        .a_dtype = d->dtype_out,
        .a_stride = d->out,
        .w = args->w,
        .epilogue = {.act = d->input_act,
                     .pre = (void *)(uintptr_t)args->input_pre,
                     .pre_row = d->in,
                     .y = args->dx,
                     .y_row = d->x_stride,
                     .dtype = d->dtype,
                     .dtype_out = d->dtype,
                     .accumulate = args->accumulate},
    };
    run_product(p, p->input, &product);
    if (args->dx_sum)
        run_sums((struct column_sums){.plan = p,
                                      .x = args->dx,
                                      .dtype = d->dtype,
                                      .rows = d->rows,
                                      .columns = d->in,
                                      .stride = d->x_stride,
                                      .to = args->dx_sum,
                                      .accumulate = args->accumulate_sum});
}

/* ---- dw = dy^T x ---- */

struct weight_gradient {
    const struct linear_plan *plan;
    const void *x, *dy;
    float *dw, *db;
    bool accumulate;
    int64_t begin, rows; /* token rows of the current depth block */
};

/* Panels of x (b of the product) and of dy (a: the same layout, read along its columns), and with dy's its column sums.
 */
static void pack_operands(void *context, int part, int parts, int worker)
{
    const struct weight_gradient *g = context;
    const struct linear_desc *d = &g->plan->desc;
    const struct cpu_kernels *k = cpu_of(&g->plan->plan)->kernels;
    const enum gemm_mode mode = g->plan->gradient_mode;
    char *x_panels = cpu_workspace(&g->plan->plan), *dy_panels = x_panels + g->plan->dy_offset;
    int64_t bytes = panel_bytes(k, gemm_words(mode, g->rows));
    struct cpu_range in = cpu_share(d->in, k->width, part, parts), out = cpu_share(d->out, k->width, part, parts);
    (void)worker;
    k->pack_rows(mode, at_element(g->x, d->dtype, g->begin * d->x_stride + in.begin), d->dtype, d->x_stride, g->rows,
                 in.end - in.begin, x_panels + in.begin / k->width * bytes, bytes, NULL);
    if (g->db && g->begin == 0 && !g->accumulate)
        memset(g->db + out.begin, 0, (size_t)(out.end - out.begin) * sizeof *g->db);
    k->pack_rows(mode, at_element(g->dy, d->dtype_out, g->begin * d->out + out.begin), d->dtype_out, d->out, g->rows,
                 out.end - out.begin, dy_panels + out.begin / k->width * bytes, bytes,
                 g->db ? g->db + out.begin : NULL);
}

static int64_t weight_columns(const struct cpu_kernels *k)
{
    return 3 * k->width;
} /* of a tile of dw */

static int64_t weight_tiles(const struct linear_desc *d, const struct cpu_kernels *k)
{
    return (d->in + weight_columns(k) - 1) / weight_columns(k) * ((d->out + k->width - 1) / k->width);
}

/* The part's share of dw's tiles: groups of x panels outside, panels of dy inside. */
static void multiply_operands(void *context, int part, int parts, int worker)
{
    const struct weight_gradient *g = context;
    const struct linear_desc *d = &g->plan->desc;
    const struct cpu_kernels *k = cpu_of(&g->plan->plan)->kernels;
    const char *x_panels = cpu_workspace(&g->plan->plan), *dy_panels = x_panels + g->plan->dy_offset;
    const int64_t width = k->width, words = gemm_words(g->plan->gradient_mode, g->rows), bytes = panel_bytes(k, words);
    const int64_t group = weight_columns(k), outs = (d->out + width - 1) / width;
    struct cpu_range own = cpu_share(weight_tiles(d, k), 1, part, parts);
    (void)worker;
    for (int64_t tile = own.begin; tile < own.end; tile++) {
        int64_t column = tile / outs * group, row = tile % outs * width;
        struct gemm_call call = {
            .mode = g->plan->gradient_mode,
            .rows = least(width, d->out - row),
            .columns = least(group, d->in - column),
            .words = words,
            .a = dy_panels + row / width * bytes,
            .a_row = 4,
            .a_step = width * 4,
            .b = x_panels + column / width * bytes,
            .b_panel = bytes,
            .c = g->dw + row * d->in + column,
            .c_row = d->in,
            .accumulate = g->accumulate || g->begin > 0,
        };
        k->gemm(&call);
    }
}

static void multiply_gradient(struct weight_gradient *g)
{
    const struct backend *be = g->plan->plan.backend;
    const struct linear_desc *d = &g->plan->desc;
    const struct cpu_kernels *k = cpu_of(&g->plan->plan)->kernels;
    const int64_t widest = d->in > d->out ? d->in : d->out;
    for (g->begin = 0; g->begin < d->rows; g->begin += DEPTH_BLOCK) {
        g->rows = least(DEPTH_BLOCK, d->rows - g->begin);
        cpu_parallel(be, cpu_parts(be, (widest + k->width - 1) / k->width), pack_operands, g);
        cpu_parallel(be, cpu_parts(be, weight_tiles(d, k)), multiply_operands, g);
    }
}

static void linear_backward_weight(struct op_plan *plan, const void *x, const void *dy, float *dw, float *db,
                                   bool accumulate)
{
    const struct linear_plan *p = (const struct linear_plan *)plan;
    struct weight_gradient gradient = {.plan = p, .x = x, .dy = dy, .dw = dw, .db = db, .accumulate = accumulate};
    VT_CHECK(!p->desc.forward_only);
    if (!p->forward) {
        multiply_gradient(&gradient);
        return;
    }
    onednn_product_run(p->weight[accumulate], dy, x, dw, cpu_workspace(plan) + p->onednn_offset);
    if (db)
        run_sums((struct column_sums){.plan = p,
                                      .x = dy,
                                      .dtype = p->desc.dtype_out,
                                      .rows = p->desc.rows,
                                      .columns = p->desc.out,
                                      .stride = p->desc.out,
                                      .to = db,
                                      .accumulate = accumulate});
}

/* ---- plan ---- */

static void linear_destroy(struct op_plan *plan)
{
    struct linear_plan *p = (struct linear_plan *)plan;
    onednn_product_close(&p->forward);
    onednn_product_close(&p->input);
    onednn_product_close(&p->weight[0]);
    onednn_product_close(&p->weight[1]);
    free(p);
}

static vt_status open_onednn_backward(struct linear_plan *p)
{
    const struct linear_desc *d = &p->desc;
    struct onednn_product_desc input = {.m = d->rows,
                                        .n = d->in,
                                        .k = d->out,
                                        .a_row = d->out,
                                        .a_column = 1,
                                        .b_row = d->in,
                                        .b_column = 1,
                                        .threads = p->plan.backend->threads};
    struct onednn_product_desc weight = {.m = d->out,
                                         .n = d->in,
                                         .k = d->rows,
                                         .a_row = 1,
                                         .a_column = d->out,
                                         .b_row = d->x_stride,
                                         .b_column = 1,
                                         .threads = p->plan.backend->threads};
    VT_TRY(onednn_product_open(&input, &p->input));
    VT_TRY(onednn_product_open(&weight, &p->weight[0]));
    weight.accumulate = true;
    return onednn_product_open(&weight, &p->weight[1]);
}

static vt_status open_onednn(struct linear_plan *p, size_t *workspace)
{
    const struct linear_desc *d = &p->desc;
    struct onednn_product_desc forward = {.m = d->rows,
                                          .n = d->out,
                                          .k = d->in,
                                          .a_row = d->x_stride,
                                          .a_column = 1,
                                          .b_row = 1,
                                          .b_column = d->in,
                                          .threads = p->plan.backend->threads};
    VT_TRY(onednn_product_open(&forward, &p->forward));
    if (!d->forward_only)
        VT_TRY(open_onednn_backward(p));
    const struct onednn_product *all[] = {p->forward, p->input, p->weight[0], p->weight[1]};
    size_t largest = 0;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i] && onednn_product_workspace(all[i]) > largest)
            largest = onednn_product_workspace(all[i]);
    p->onednn_offset = round_up(d->rows * (d->in > d->out && !d->forward_only ? d->in : d->out) * 4, 64);
    *workspace = (size_t)p->onednn_offset + largest;
    return VT_OK;
}

/* Offsets of our own kernels' workspace; returns its bytes. */
static int64_t lay_out(struct linear_plan *p, const struct cpu_kernels *k, int threads)
{
    const struct linear_desc *d = &p->desc;
    int64_t depth_rows = least(d->rows, DEPTH_BLOCK), deepest = d->in > d->out ? d->in : d->out;
    int64_t forward = operand_bytes(k, p->mode, d->out, d->in), backward = operand_bytes(k, p->mode, d->in, d->out);
    if (d->forward_only)
        backward = 0, deepest = d->in;
    p->scratch_offset = forward > backward ? forward : backward;
    p->scratch_bytes = round_up(ROW_BLOCK * (COLUMN_GROUP * k->width + gemm_words(p->mode, deepest)) * 4, 64);
    p->dy_offset = operand_bytes(k, p->gradient_mode, d->in, depth_rows);
    int64_t products = p->scratch_offset + p->scratch_bytes * threads;
    int64_t gradient = p->dy_offset + operand_bytes(k, p->gradient_mode, d->out, depth_rows);
    return products > gradient || d->forward_only ? products : gradient;
}

static vt_status linear_plan(struct backend *be, const struct linear_desc *desc, struct op_plan **plan)
{
    const struct cpu_backend *cpu = (const struct cpu_backend *)be;
    VT_CHECK(desc->rows > 0 && desc->in > 0 && desc->out > 0);
    VT_CHECK(desc->x_stride == 0 || desc->x_stride >= desc->in);
    VT_CHECK(desc->dtype_out == desc->dtype || desc->dtype_out == DTYPE_F32);
    VT_TRY(cpu_check_dtype("linear", desc->dtype));
    struct linear_plan layout = {.desc = *desc, .mode = cpu_gemm_mode(be, desc->dtype)}, *made;
    if (layout.desc.x_stride == 0)
        layout.desc.x_stride = desc->in;
    layout.gradient_mode = desc->dtype_out == DTYPE_F32 ? GEMM_F32 : layout.mode;
    bool onednn = cpu->onednn && layout.gradient_mode == GEMM_BF16;
    const char *algorithm = onednn ? "oneDNN bf16" : layout.mode == GEMM_BF16 ? "packed bf16" : "packed fp32";
    VT_TRY(cpu_plan_new(be, algorithm, sizeof *made, lay_out(&layout, cpu->kernels, be->threads), (void **)&made));
    layout.plan = made->plan;
    *made = layout;
    made->plan.destroy = linear_destroy;
    made->plan.flops = 2.0 * (double)desc->rows * (double)desc->in * (double)desc->out;
    *plan = &made->plan;
    if (!onednn)
        return VT_OK;
    vt_status status = open_onednn(made, &made->plan.workspace_bytes);
    if (status != VT_OK)
        op_plan_close(plan);
    else if (made->plan.workspace_bytes > be->workspace_bytes)
        be->workspace_bytes = made->plan.workspace_bytes;
    return status;
}

void cpu_linear_install(struct nn_ops *nn)
{
    nn->linear_plan = linear_plan;
    nn->linear_forward = linear_forward;
    nn->linear_backward_input = linear_backward_input;
    nn->linear_backward_weight = linear_backward_weight;
}
