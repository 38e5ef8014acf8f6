#include "config/yaml_read.h"

#include <stdio.h>
#include <string.h>
#include <yaml.h>

struct reader {
    yaml_parser_t parser;
    yaml_document_t document;
    const char *name;
    bool is_value; /* one value, not a file: places have no line */
    yaml_entry_fn *entry;
    void *context;
    char place[CONFIG_PATH_BYTES + 32];
};

static int line_of(const yaml_node_t *node)
{
    return (int)node->start_mark.line + 1;
}
static const char *scalar_of(const yaml_node_t *node)
{
    return (const char *)node->data.scalar.value;
}

/* "name:line", for messages. */
static const char *place(struct reader *reader, size_t line)
{
    if (reader->is_value)
        snprintf(reader->place, sizeof reader->place, "%s", reader->name);
    else
        snprintf(reader->place, sizeof reader->place, "%s:%zu", reader->name, line);
    return reader->place;
}

static const char *place_of(struct reader *reader, const yaml_node_t *node)
{
    return place(reader, node->start_mark.line + 1);
}

static vt_status document_load(struct reader *reader, const char *text, size_t size)
{
    if (!yaml_parser_initialize(&reader->parser))
        return VT_FAIL(VT_E_MEMORY, "%s: no memory for the YAML parser", reader->name);
    yaml_parser_set_input_string(&reader->parser, (const unsigned char *)text, size);
    /* On failure the document is left zeroed, and yaml_document_delete accepts that. */
    if (!yaml_parser_load(&reader->parser, &reader->document)) {
        const yaml_parser_t *parser = &reader->parser;
        /* Errors of the character reader have an offset only. */
        size_t line = parser->problem_mark.line + 1;
        if (parser->error == YAML_READER_ERROR) {
            line = 1;
            for (size_t i = 0; i < parser->problem_offset && i < size; i++)
                line += text[i] == '\n';
        }
        return VT_FAIL(VT_E_USAGE, "%s: not valid YAML: %s", place(reader, line),
                       parser->problem ? parser->problem : "out of memory");
    }
    return VT_OK;
}

/* A second document in the file would be silently lost. */
static vt_status check_single(struct reader *reader)
{
    yaml_document_t second;
    if (!yaml_parser_load(&reader->parser, &second)) {
        yaml_document_delete(&second);
        return VT_FAIL(VT_E_USAGE, "%s: not valid YAML: %s", place(reader, reader->parser.problem_mark.line + 1),
                       reader->parser.problem ? reader->parser.problem : "out of memory");
    }
    const yaml_node_t *root = yaml_document_get_root_node(&second);
    size_t line = root ? root->start_mark.line + 1 : 0;
    yaml_document_delete(&second);
    if (line)
        return VT_FAIL(VT_E_USAGE, "%s: a second YAML document, expected one", place(reader, line));
    return VT_OK;
}

static vt_status fill_scalar(struct reader *reader, const yaml_node_t *node, const char *key, const char **out)
{
    if (node->type != YAML_SCALAR_NODE)
        return VT_FAIL(VT_E_USAGE, "%s: %s: lists hold single values, or pattern: value", place_of(reader, node), key);
    if (strlen(scalar_of(node)) != node->data.scalar.length)
        return VT_FAIL(VT_E_USAGE, "%s: %s: a zero byte in the value", place_of(reader, node), key);
    *out = scalar_of(node);
    return VT_OK;
}

static vt_status fill_list(struct reader *reader, const yaml_node_t *node, const char *key, struct option_value *value)
{
    const yaml_node_item_t *first = node->data.sequence.items.start;
    long count = node->data.sequence.items.top - first;
    if (count > CONFIG_RULES_MAX)
        return VT_FAIL(VT_E_USAGE, "%s: %s: a list of %ld, at most %d fit", place_of(reader, node), key, count,
                       CONFIG_RULES_MAX);
    value->shape = VALUE_LIST;
    value->count = (int)count;
    for (long i = 0; i < count; i++) {
        const yaml_node_t *item = yaml_document_get_node(&reader->document, first[i]);
        bool is_rule = item->type == YAML_MAPPING_NODE;
        if (i > 0 && is_rule != (value->shape == VALUE_RULES))
            return VT_FAIL(VT_E_USAGE, "%s: %s: a list mixes values and pattern: value", place_of(reader, item), key);
        if (!is_rule) {
            VT_TRY(fill_scalar(reader, item, key, &value->element[i]));
            continue;
        }
        value->shape = VALUE_RULES;
        const yaml_node_pair_t *pair = item->data.mapping.pairs.start;
        if (item->data.mapping.pairs.top - pair != 1)
            return VT_FAIL(VT_E_USAGE, "%s: %s: expected one pattern: value in each item of the list",
                           place_of(reader, item), key);
        VT_TRY(fill_scalar(reader, yaml_document_get_node(&reader->document, pair->key), key, &value->pattern[i]));
        VT_TRY(fill_scalar(reader, yaml_document_get_node(&reader->document, pair->value), key, &value->element[i]));
    }
    return VT_OK;
}

static vt_status read_value(struct reader *reader, const yaml_node_t *node, const char *key, int line)
{
    struct option_value value = {.shape = VALUE_SCALAR};
    if (node->type == YAML_SCALAR_NODE) {
        VT_TRY(fill_scalar(reader, node, key, &value.scalar));
        value.quoted = node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    } else if (node->type == YAML_SEQUENCE_NODE) {
        VT_TRY(fill_list(reader, node, key, &value));
    } else {
        return VT_FAIL(VT_E_USAGE, "%s: %s: is a section, expected a value", place_of(reader, node), key);
    }
    return reader->entry(reader->context, key, &value, line);
}

/* Fails when the key at `pair` stood before it in the same mapping. */
static vt_status check_duplicate(struct reader *reader, const yaml_node_t *mapping, const yaml_node_pair_t *pair)
{
    const yaml_node_t *key = yaml_document_get_node(&reader->document, pair->key);
    for (const yaml_node_pair_t *p = mapping->data.mapping.pairs.start; p < pair; p++) {
        const yaml_node_t *earlier = yaml_document_get_node(&reader->document, p->key);
        if (strcmp(scalar_of(earlier), scalar_of(key)) == 0)
            return VT_FAIL(VT_E_USAGE, "%s: duplicate key %.100s, first given at line %d", place_of(reader, key),
                           scalar_of(key), line_of(earlier));
    }
    return VT_OK;
}

static vt_status check_key(struct reader *reader, const yaml_node_t *key)
{
    if (key->type != YAML_SCALAR_NODE || key->data.scalar.length > 200)
        return VT_FAIL(VT_E_USAGE, "%s: expected a key", place_of(reader, key));
    return VT_OK;
}

static vt_status read_section(struct reader *reader, const char *section, const yaml_node_t *node)
{
    char path[512];
    for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start; pair < node->data.mapping.pairs.top; pair++) {
        const yaml_node_t *key = yaml_document_get_node(&reader->document, pair->key);
        VT_TRY(check_key(reader, key));
        VT_TRY(check_duplicate(reader, node, pair));
        snprintf(path, sizeof path, "%s.%s", section, scalar_of(key));
        VT_TRY(read_value(reader, yaml_document_get_node(&reader->document, pair->value), path, line_of(key)));
    }
    return VT_OK;
}

static bool is_section(const char *name)
{
    size_t length = strlen(name);
    for (int i = 0; i < option_count(); i++)
        if (strncmp(option_at(i)->key, name, length) == 0 && option_at(i)->key[length] == '.')
            return true;
    return false;
}

static vt_status read_root(struct reader *reader, const yaml_node_t *root)
{
    if (root->type == YAML_SCALAR_NODE && root->data.scalar.length == 0)
        return VT_OK;
    if (root->type != YAML_MAPPING_NODE)
        return VT_FAIL(VT_E_USAGE, "%s: expected sections, as \"optim:\" with \"lr: 0.001\" below it",
                       place_of(reader, root));
    for (const yaml_node_pair_t *pair = root->data.mapping.pairs.start; pair < root->data.mapping.pairs.top; pair++) {
        const yaml_node_t *key = yaml_document_get_node(&reader->document, pair->key);
        const yaml_node_t *value = yaml_document_get_node(&reader->document, pair->value);
        VT_TRY(check_key(reader, key));
        VT_TRY(check_duplicate(reader, root, pair));
        const char *where = place_of(reader, key);
        if (!is_section(scalar_of(key)))
            return option_unknown_section(where, scalar_of(key));
        if (value->type == YAML_MAPPING_NODE)
            VT_TRY(read_section(reader, scalar_of(key), value));
        else if (value->type != YAML_SCALAR_NODE || value->data.scalar.length != 0)
            return VT_FAIL(VT_E_USAGE, "%s: %s: is a section, expected keys below it", where, scalar_of(key));
    }
    return VT_OK;
}

vt_status yaml_read(const char *text, size_t size, const char *name, yaml_entry_fn *entry, void *context)
{
    struct reader reader = {.name = name, .entry = entry, .context = context};
    vt_status status;
    VT_TRY_OUT(document_load(&reader, text, size));
    const yaml_node_t *root = yaml_document_get_root_node(&reader.document);
    if (root) {
        VT_TRY_OUT(read_root(&reader, root));
        VT_TRY_OUT(check_single(&reader));
    }
out:
    yaml_document_delete(&reader.document);
    yaml_parser_delete(&reader.parser);
    return status;
}

vt_status yaml_read_value(const char *text, const char *where, const char *key, yaml_entry_fn *entry, void *context)
{
    struct reader reader = {.name = where, .is_value = true, .entry = entry, .context = context};
    vt_status status;
    VT_TRY_OUT(document_load(&reader, text, strlen(text)));
    const yaml_node_t *root = yaml_document_get_root_node(&reader.document);
    if (!root)
        status = VT_FAIL(VT_E_USAGE, "%s: %s: has no value", where, key);
    else
        status = read_value(&reader, root, key, 0);
out:
    yaml_document_delete(&reader.document);
    yaml_parser_delete(&reader.parser);
    return status;
}
