#include "dataset/pack_stats.h"

#include <math.h>

void pack_stats_add(struct pack_stats *s, const struct image_info *info, size_t bytes)
{
    struct manifest_stats *stats = &s->stats;
    if (s->samples == 0) {
        stats->common_width = info->width;
        stats->common_height = info->height;
    }
    s->sizes_differ |= stats->common_width != info->width || stats->common_height != info->height;
    s->colour |= info->channels > 2;
    s->samples++;
    s->bytes += (int64_t)bytes;
    stats->max_bytes = (int64_t)bytes > stats->max_bytes ? (int64_t)bytes : stats->max_bytes;
    stats->max_width = info->width > stats->max_width ? info->width : stats->max_width;
    stats->max_height = info->height > stats->max_height ? info->height : stats->max_height;
    stats->progressive += info->progressive;
    stats->grey += info->channels <= 2;
    stats->cmyk += info->codec == CODEC_JPEG && info->channels == 4;
    stats->exif_rotated += info->exif_orientation > 1;
}

void pack_stats_add_pixels(struct pack_stats *s, const struct image *image)
{
    size_t count = (size_t)image->width * (size_t)image->height;
    if (image->channels == 1) {
        uint64_t grey[256] = {0};
        for (size_t i = 0; i < count; i++)
            grey[image->pixels[i]]++;
        for (int v = 0; v < 256; v++)
            for (int c = 0; c < 3; c++)
                s->histogram[c][v] += grey[v];
        return;
    }
    for (size_t i = 0; i < count; i++)
        for (size_t c = 0; c < 3; c++)
            s->histogram[c][image->pixels[3 * i + c]]++;
}

void pack_stats_finish(struct pack_stats *s, struct manifest_stats *out)
{
    *out = s->stats;
    out->known = s->samples > 0;
    out->channels = s->colour ? 3 : 1;
    out->mean_bytes = s->samples ? (double)s->bytes / (double)s->samples : 0;
    if (s->sizes_differ)
        out->common_width = out->common_height = 0;
    for (int c = 0; c < 3; c++) {
        double count = 0, sum = 0, squares = 0;
        for (int v = 0; v < 256; v++) {
            double n = (double)s->histogram[c][v];
            count += n;
            sum += n * v;
            squares += n * v * v;
        }
        double mean = count > 0 ? sum / count : 0, variance = count > 0 ? squares / count - mean * mean : 0;
        out->mean[c] = mean / 255;
        out->std[c] = sqrt(variance > 0 ? variance : 0) / 255;
        out->pixels = (uint64_t)count;
    }
}
