/* A checkpoint made ready for forward passes: model, weights, class names and evaluation transform all come from it. For the
 * verbs eval and predict. */
#ifndef VT_TRAIN_INFERENCE_H
#define VT_TRAIN_INFERENCE_H

#include <stdbool.h>

#include "backend/backend.h"
#include "base/status.h"
#include "checkpoint/checkpoint.h"
#include "comm/comm.h"
#include "config/run_config.h"
#include "train/device.h"
#include "train/evaluate.h"
#include "train/weights.h"

struct inference_desc {
    const char *path;   /* a checkpoint or a run folder */
    bool prefer_best;   /* of a run folder */
    bool raw_weights;   /* not the EMA, also where there is one */
    int rows;           /* microbatch; 0 = chosen */
    int labels;         /* most labels of a sample; 0 = 1 */
    int threads;        /* CPU threads; 0 = this rank's share of the host */
    enum config_dtype dtype; /* AUTO = as it was trained where the machine has it */
};

struct inference {
    char checkpoint[CONFIG_PATH_BYTES + 64];
    struct checkpoint_state state;
    struct run_config config;
    struct vit_config model;
    struct augment_desc transform;
    struct device device;
    struct backend *be; /* device.be */
    struct param_table table;
    struct weights weights;
    struct evaluator evaluator;
    bool ema; /* the weights are the EMA */
};

/* Collective; a failure may be of this rank alone. */
VT_MUST_CHECK vt_status inference_open(const struct inference_desc *desc, struct comm *comm, struct inference *out);
void inference_close(struct inference *inference);
/* Forward `rows` images (u8 [rows, H, W, C], rows <= the evaluator's) and read the logits into the evaluator's host buffer. */
VT_MUST_CHECK vt_status inference_forward(struct inference *inference, struct slot *slot);
/* What the model was trained to say of each class: softmax over the logits, or the sigmoid of each (loss.name). [classes] both. */
void inference_probabilities(const struct inference *inference, const float *logits, float *probability);
/* Class name, or "class 17". Writes into text. */
const char *inference_class_name(const struct inference *inference, int class_id, char *text, size_t bytes);

#endif
