#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "cli/cli.h"
#include "train/inference.h"

enum { SYNTHETIC_SAMPLES = 1024 };

struct eval_args {
    const char *checkpoint, *uri, *predictions;
    bool json, raw_weights, best;
};

static void write_prediction(void *context, int64_t sample, int32_t label, const float *logits, int classes)
{
    int best = evaluate_best_class(logits, classes);
    double sum = 0;
    for (int k = 0; k < classes; k++)
        sum += exp((double)logits[k] - logits[best]);
    fprintf(context, "%lld,%d,%d,%.6f\n", (long long)sample, label, best, 1 / sum);
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
    printf("top-1 %.2f %%   top-5 %.2f %%   loss %.4f   %lld images   (step %lld, %s weights)\n", 100 * result->top1,
           100 * result->top5, result->loss, (long long)result->seen, (long long)inf->state.step, inf->ema ? "EMA" : "model");
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
    vt_status status = keep_in_run(args->checkpoint, object);
    if (args->json && status == VT_OK)
        status = json_write_line(object, stdout, "stdout");
    else if (!args->json)
        print_text(inf, result);
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
    for (int k = 0; data->dataset && k < data->classes && k < inf->state.class_count; k++)
        if (strcmp(dataset_class_name(data->dataset, k), inf->state.class_names[k]) != 0) {
            log_warn("class %d is \"%s\" in %s, but \"%s\" in the checkpoint", k, dataset_class_name(data->dataset, k), uri,
                     inf->state.class_names[k]);
            break;
        }
    return VT_OK;
}

/* *together: false once a failure may be this rank's alone. */
static vt_status run(const struct eval_args *args, struct comm *comm, bool *together)
{
    vt_status status;
    struct inference inf = {0};
    struct data_source data = {0};
    struct evaluation result = {0};
    FILE *csv = NULL;
    VT_TRY_OUT(comm_agree(comm, data_source_open(args->uri, "val", SYNTHETIC_SAMPLES, 1, &data)));
    const struct inference_desc desc = {.path = args->checkpoint,
                                        .prefer_best = args->best,
                                        .raw_weights = args->raw_weights,
                                        .labels = data_source_labels(&data)};
    VT_TRY_OUT(comm_agree(comm, inference_open(&desc, comm, &inf)));
    VT_TRY_OUT(comm_agree(comm, check_data(&inf, &data, args->uri)));
    *together = false;
    if (args->predictions) {
        csv = fopen(args->predictions, "w");
        if (!csv) {
            status = VT_FAIL(VT_E_IO, "%s: cannot write: %s", args->predictions, strerror(errno));
            goto out;
        }
        fprintf(csv, "sample,label,prediction,probability\n");
    }
    const struct evaluate_desc evaluate = {.source = &data,
                                           .transform = &inf.transform,
                                           .batch = inf.evaluator.ring.shape.rows * comm->size * 4,
                                           .threads = comm->cpus < LOADER_THREADS_MAX ? comm->cpus : LOADER_THREADS_MAX,
                                           .seed = inf.state.data_seed,
                                           .on_row = csv ? write_prediction : NULL,
                                           .context = csv};
    struct vit_weights weights = weights_view(&inf.weights);
    VT_TRY_OUT(evaluate_run(&inf.evaluator, comm, &weights, &evaluate, &result));
    if (csv && (ferror(csv) | fclose(csv))) {
        csv = NULL;
        status = VT_FAIL(VT_E_IO, "%s: writing failed: %s", args->predictions, strerror(errno));
        goto out;
    }
    csv = NULL;
    if (comm->rank == 0)
        status = show(&inf, args, &result);
out:
    if (csv)
        fclose(csv);
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
