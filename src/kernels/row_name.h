/* SPDX-License-Identifier: BSD-3-Clause */
/* Names of rows that several files make from one text: JOIN(bl_k_add_, ROW) as a symbol, TEXT(ROW) as a string. */
#ifndef BL_KERNELS_ROW_NAME_H
#define BL_KERNELS_ROW_NAME_H

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define TEXT_(a) #a
#define TEXT(a) TEXT_(a)

#endif
