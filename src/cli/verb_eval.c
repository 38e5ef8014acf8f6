#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/cli.h"
#include "train/class_names.h"
#include "train/inference.h"

enum { SYNTHETIC_SAMPLES = 1024 };

struct eval_args {
    const char *checkpoint, *uri, *predictions;
    bool json, raw_weights, best;
};

struct predictions {
    FILE *csv;
    const struct inference *inf;
    const struct dataset_split *split; /* NULL = synthetic */
    float *probability;                /* [classes] */
};

/* A field of CSV (RFC 4180): in quotes where it needs them. */
static void write_field(const char *text, FILE *csv)
{
    if (!strpbrk(text, ",\"\r\n")) {
        fputs(text, csv);
        return;
    }
    putc('"', csv);
    for (; *text; text++) {
        if (*text == '"')
            putc('"', csv);
        putc(*text, csv);
    }
    putc('"', csv);
}

static void write_prediction(void *context, int64_t sample, int32_t label, const float *logits, int classes)
{
    struct predictions *p = context;
    char key[256] = "";
    int best = evaluate_best_class(logits, classes);
    inference_probabilities(p->inf, logits, p->probability);
    if (p->split) {
        struct sample_record record;
        dataset_record(p->split, sample, &record);
        dataset_key(p->split, &record, key, sizeof key);
    }
    fprintf(p->csv, "%lld,", (long long)sample);
    write_field(key, p->csv);
    fprintf(p->csv, ",%d,%d,%.6f\n", label, best, (double)p->probability[best]);
}

static vt_status predictions_open(const char *path, const struct inference *inf, const struct data_source *data,
                                  struct predictions *out)
{
    out->inf = inf;
    out->split = data->split;
    out->probability = malloc((size_t)inf->model.classes * sizeof *out->probability);
    if (!out->probability)
        return VT_FAIL(VT_E_MEMORY, "no memory for %d classes", inf->model.classes);
    out->csv = fopen(path, "w");
    if (!out->csv)
        return VT_FAIL(VT_E_IO, "%s: cannot write: %s", path, strerror(errno));
    fprintf(out->csv, "sample,key,label,prediction,probability\n");
    return VT_OK;
}

/* With a path: what was written has arrived. */
static vt_status predictions_close(struct predictions *p, const char *path)
{
    free(p->probability);
    errno = 0;
    bool lost = p->csv && (ferror(p->csv) | fclose(p->csv));
    *p = (struct predictions){0};
    if (lost && path)
        return VT_FAIL(VT_E_IO, "%s: cannot write: %s", path, errno ? strerror(errno) : "some of the lines are lost");
    return VT_OK;
}

static struct json *to_json(const struct inference *inf, const struct eval_args *args, const struct evaluation *result)
{
    char name[128];
    struct json *object = json_new_object(), *classes = json_new_array();
    json_set_string(object, "checkpoint", inf->checkpoint);
    json_set_string(object, "data", args->uri);
    json_set_string(object, "weights", inf->ema ? "ema" : "model");
    json_set_int(object, "step", inf->state.step);
    json_set_int(object, "images", result->seen);
    json_set_double(object, "top1", result->top1);
    json_set_double(object, "top5", result->top5);
    json_set_double(object, "loss", result->loss);
    for (int k = 0; k < result->classes; k++) {
        struct json *entry = json_new_object();
        json_set_string(entry, "name", inference_class_name(inf, k, name, sizeof name));
        json_set_int(entry, "count", result->class_count[k]);
        json_set_int(entry, "correct", result->class_correct[k]);
        json_add(classes, entry);
    }
    json_set(object, "classes", classes);
    return object;
}

static void print_text(const struct inference *inf, const struct evaluation *result)
{
    char name[128];
    printf("top-1 %.2f %%   top-5 %.2f %%   loss %.4f   %lld image%s   (step %lld, %s weights)\n", 100 * result->top1,
           100 * result->top5, result->loss, (long long)result->seen, text_s(result->seen), (long long)inf->state.step,
           inf->ema ? "EMA" : "model");
    if (result->classes > 40)
        return; /* --json has them all */
    for (int k = 0; k < result->classes; k++)
        printf("  %-20s %6.2f %%  of %lld\n", inference_class_name(inf, k, name, sizeof name),
               result->class_count[k] ? 100.0 * (double)result->class_correct[k] / (double)result->class_count[k] : 0,
               (long long)result->class_count[k]);
}

/* The newest evaluation of a run stands in its folder, for `report`. */
static vt_status keep_in_run(const char *path, const struct json *object)
{
    char config[CONFIG_PATH_BYTES + 16], file[CONFIG_PATH_BYTES + 16];
    VT_TRY(path_join(config, sizeof config, path, "config.yaml"));
    if (!file_is_dir(path) || !file_exists(config))
        return VT_OK;
    VT_TRY(path_join(file, sizeof file, path, "eval.json"));
    char *text = json_to_pretty_text(object);
    vt_status status = file_write_atomic(file, text, strlen(text));
    free(text);
    return status;
}

static vt_status show(const struct inference *inf, const struct eval_args *args, const struct evaluation *result)
{
    struct json *object = to_json(inf, args, result);
    vt_status status = VT_OK;
    if (args->json)
        status = json_write_line(object, stdout, "stdout");
    else
        print_text(inf, result);
    if (keep_in_run(args->checkpoint, object) != VT_OK)
        log_warn("the result is not kept for reports: %s", status_message());
    json_free(&object);
    return status;
}

static vt_status check_data(const struct inference *inf, const struct data_source *data, const char *uri)
{
    if (data->samples < 1)
        return VT_FAIL(VT_E_USAGE, "%s has no samples", uri);
    if (data->classes > inf->model.classes)
        return VT_FAIL(VT_E_USAGE, "%s has %d classes, but the model of %s has %d", uri, data->classes, inf->checkpoint,
                       inf->model.classes);
    return data->dataset ? class_names_check(data->dataset, uri, (const char *const *)inf->state.class_names,
                                             inf->state.class_count, inf->checkpoint, false)
                         : VT_OK;
}

/* *together: false once a failure may be this rank's alone. */
static vt_status run(const struct eval_args *args, struct comm *comm, bool *together)
{
    vt_status status;
    struct inference inf = {0};
    struct data_source data = {0};
    struct evaluation result = {0};
    struct predictions predictions = {0};
    VT_TRY_OUT(comm_agree(comm, data_source_open(args->uri, "val", SYNTHETIC_SAMPLES, 1, &data)));
    const struct inference_desc desc = {.path = args->checkpoint,
                                        .prefer_best = args->best,
                                        .raw_weights = args->raw_weights,
                                        .labels = data_source_labels(&data)};
    VT_TRY_OUT(comm_agree(comm, inference_open(&desc, comm, &inf)));
    VT_TRY_OUT(comm_agree(comm, check_data(&inf, &data, args->uri)));
    *together = false;
    if (args->predictions)
        VT_TRY_OUT(predictions_open(args->predictions, &inf, &data, &predictions));
    const struct evaluate_desc evaluate = {.source = &data,
                                           .transform = &inf.transform,
                                           .batch = inf.evaluator.ring.shape.rows * comm->size * 4,
                                           .threads = loader_threads(comm->cpus, inf.be->memory_bytes != 0),
                                           .seed = inf.state.data_seed,
                                           .on_row = predictions.csv ? write_prediction : NULL,
                                           .context = &predictions};
    struct vit_weights weights = weights_view(&inf.weights);
    VT_TRY_OUT(evaluate_run(&inf.evaluator, comm, &weights, &evaluate, &result));
    if (comm->rank == 0)
        status = show(&inf, args, &result);
    if (status == VT_OK)
        status = predictions_close(&predictions, args->predictions);
out:
    (void)!predictions_close(&predictions, NULL);
    evaluation_close(&result);
    data_source_close(&data);
    inference_close(&inf);
    return status;
}

vt_status verb_eval(int argc, char **argv)
{
    struct eval_args args = {0};
    const struct arg_option options[] = {{"--json", NULL, &args.json},
                                         {"--predictions", &args.predictions, NULL},
                                         {"--raw-weights", NULL, &args.raw_weights},
                                         {"--best", NULL, &args.best}};
    char **positional;
    int count;
    VT_TRY(args_parse(argc, argv, options, 4, 2, 2, &positional, &count));
    args.checkpoint = positional[0];
    args.uri = positional[1];
    struct comm *comm = NULL;
    bool together = true;
    VT_TRY(world_open(COMM_AUTO, &comm));
    vt_status status = args.predictions && comm->size > 1
                           ? VT_FAIL(VT_E_USAGE, "--predictions is written by one process, not by %d ranks", comm->size)
                           : run(&args, comm, &together);
    return job_finish(&comm, status, together);
}
