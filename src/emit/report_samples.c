/* SPDX-License-Identifier: BSD-3-Clause */
/* The samples that were made from the network because none were given: how, and what they look like. */
#include "emit/report_private.h"

#include <stdio.h>
#include <string.h>

/* Text that becomes part of an address: nothing but base64's own characters. */
static const char *picture_of(const json_t *record)
{
    const char *text = bl_figure_text(record, "picture");
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=";
    return text && *text && !text[strspn(text, digits)] ? text : NULL;
}

void bl_part_samples(bl_report *r)
{
    const json_t *record = r->in.samples;
    const char *method = bl_figure_text(record, "method"), *picture = picture_of(record);
    double samples = bl_figure_num(record, "samples"), layers = bl_figure_num(record, "layers");
    bool beside = json_is_true(json_object_get(record, "beside_given"));
    double first = bl_figure_num(record, "loss_first"), last = bl_figure_num(record, "loss_last");

    if (!method || !(samples > 0)) return;
    bl_part_open(r, "samples", "Samples");
    if (layers > 0) {
        bl_page_put(&r->page, "<p>%s %.0f samples were made from the network itself: %.0f steps moved random "
                    "numbers until %.0f layers had the means and deviations that their batch normalizations remember (%s; "
                    "loss %.4g, then %.4g).</p>\n", beside ? "Beside the given ones" : "No data were given.", samples, bl_figure_num(record, "steps"), layers, method, first, last);
    } else {
        bl_page_put(&r->page, "<p><b>%s the network keeps no batch normalization to learn from.</b> %.0f "
                    "samples of Gaussian numbers stand in: ranges may be far from those of real data.</p>\n",
                    beside ? "Samples were to be made beside the given ones, and" : "No data were given, and", samples);
    }
    if (picture) {
        bl_page_put(&r->page, "<p><img style=\"width:100%%;max-width:784px;image-rendering:pixelated\" alt=\"%.0f made samples side by "
                    "side\" src=\"data:image/png;base64,", fmin(samples, 16));
        bl_page_raw(&r->page, picture);
        bl_page_raw(&r->page, "\"></p>\n<p class=\"caption\">Contrast is stretched for each sample.</p>\n");
    }
    bl_part_close(r);
}
