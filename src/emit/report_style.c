/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How the page and its pictures look, and the page's little script.  The hues are those of Okabe and
 * Ito and, for the heat map, ColorBrewer's YlOrBr: told apart by colour-blind readers; shape, height
 * or a number always says the same as the colour.
 */
#include "emit/report_private.h"

/* Rules of the pictures, with colours by name for the page or in full for a picture alone. */
#define PLOT_RULES(TEXT, DIM, GROUND, LINE, GRID, WEIGHT, ACT, CHOSEN)                              \
    "text{font:12px system-ui,-apple-system,'Segoe UI',Roboto,'Liberation Sans',sans-serif;"        \
    "fill:" TEXT "}\n"                                                                              \
    ".tick{fill:" DIM ";font-size:11px}.name{fill:" DIM "}.label.dim{fill:" DIM ";font-size:11px}\n" \
    ".label.strong{font-weight:700;fill:" CHOSEN "}.mid{text-anchor:middle}.end{text-anchor:end}\n" \
    ".grid{stroke:" GRID ";fill:none}.axis{stroke:" LINE ";fill:none}\n"                            \
    ".guide{stroke:" DIM ";stroke-dasharray:4 4;fill:none}.band{fill:" GRID ";opacity:.6}\n"        \
    ".front{stroke:" WEIGHT ";stroke-width:1.5;fill:none;opacity:.7}\n"                             \
    ".whisker{stroke:" DIM ";stroke-width:1.5}\n"                                                  \
    ".hit{fill:transparent;stroke:none}\n"                                                          \
    ".mark.best{fill:" WEIGHT "}.mark.uniform{fill:" ACT "}.mark.int8{fill:" TEXT "}\n"             \
    ".mark.uniform,.mark.int8,.mark.best{stroke:" GROUND ";stroke-width:1}\n"                       \
    ".mark.chosen{fill:" CHOSEN "}.ring{fill:none;stroke:" CHOSEN ";stroke-width:2}\n"

const char bl_svg_style[] = PLOT_RULES("#1a1f26", "#566170", "#ffffff", "#8a94a2", "#e6e9ee", "#0068a8", "#c27400",
                                       "#bf3a00") ".ground{fill:#ffffff}\n";

#define LIGHT                                                                                      \
    "--ground:#ffffff;--panel:#f6f7f9;--line:#d5dae1;--grid:#e6e9ee;--text:#1a1f26;--dim:#566170;"  \
    "--link:#0a5c99;--weight:#0068a8;--act:#c27400;--chosen:#bf3a00;--pick:#fbeee8;"                \
    "--bad:#b3261e;--badbg:#fdeceb;--warn:#8f5a00;--warnbg:#fff5e0;"                                \
    "--h0:#fdfdf9;--h1:#fff7d6;--h2:#fee9a8;--h3:#fed976;--h4:#feb84a;--h5:#f98e28;--h6:#c8560a;"   \
    "--h7:#9f3c05;--h8:#6b2604;--hlow:#1a1f26;--hhigh:#ffffff;"
#define DARK                                                                                       \
    "--ground:#13161b;--panel:#1b2027;--line:#38414d;--grid:#272e38;--text:#e7eaef;--dim:#9eabba;"  \
    "--link:#7cc0f5;--weight:#56b4e9;--act:#e69f00;--chosen:#ff8a57;--pick:#33251f;"                \
    "--bad:#ff8a80;--badbg:#3a1f1e;--warn:#ffc766;--warnbg:#362a14;"                                \
    "--h0:#181b20;--h1:#2a211a;--h2:#402c18;--h3:#5c3b14;--h4:#7c4c10;--h5:#a9650f;--h6:#d68722;"   \
    "--h7:#f4b65c;--h8:#fff0c2;--hlow:#e7eaef;--hhigh:#13161b;"

/* clang-format off */
const char bl_report_style[] =
    ":root{" LIGHT "color-scheme:light dark}\n"
    "@media (prefers-color-scheme:dark){:root{" DARK "}}\n"
    "@media print{:root{" LIGHT "}.scroll.tall{max-height:none}nav{display:none}}\n"
    "*{box-sizing:border-box}\n"
    "body{margin:0;background:var(--ground);color:var(--text);overflow-wrap:anywhere;"
    "font:15px/1.55 system-ui,-apple-system,'Segoe UI',Roboto,'Liberation Sans',sans-serif}\n"
    "main{max-width:1060px;margin:0 auto;padding:28px 28px 64px}\n"
    "h1{font-size:28px;line-height:1.2;margin:2px 0 10px}\n"
    "h2{font-size:20px;margin:0 0 14px}h3{font-size:15px;margin:0 0 8px}\n"
    "section{padding-top:36px;scroll-margin-top:8px}section>h3{margin-top:26px}p{margin:0 0 12px}\n"
    ".kicker,.caption,figcaption,small{color:var(--dim)}.kicker{font-size:13px;margin:0}\n"
    ".caption,figcaption{font-size:13.5px;max-width:76ch}\n"
    ".lead{font-size:19px;line-height:1.45;max-width:60ch;margin-bottom:16px}\n"
    ".alert{border-left:4px solid;border-radius:4px;padding:10px 14px;max-width:90ch}\n"
    ".alert b{display:block}.bad{background:var(--badbg);border-color:var(--bad)}.bad b{color:var(--bad)}\n"
    ".warn{background:var(--warnbg);border-color:var(--warn)}.warn b{color:var(--warn)}\n"
    ".notes{margin:0 0 16px;padding:10px 14px 10px 32px;background:var(--panel);border-radius:4px}\n"
    ".tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin:18px 0}\n"
    ".tile{border:1px solid var(--line);border-radius:8px;padding:10px 14px;background:var(--panel)}\n"
    ".tile span{display:block;font-size:13px;color:var(--dim)}.tile b{font-size:23px;line-height:1.3;display:block}\n"
    "nav{display:flex;flex-wrap:wrap;gap:4px 16px;font-size:13.5px;border-block:1px solid var(--line);padding:8px 0}\n"
    "a{color:var(--link)}nav a{text-decoration:none}nav a:hover{text-decoration:underline}\n"
    "figure{margin:0 0 16px}\n"
    ".pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,400px),1fr));gap:24px 36px}\n"
    ".pair{margin-top:8px}.pair>*{min-width:0}.pair figure{max-width:560px}\n"
    "svg{display:block;width:100%;height:auto}svg.narrow,span.narrow{display:none}\n"
    PLOT_RULES("var(--text)", "var(--dim)", "var(--ground)", "var(--line)", "var(--grid)", "var(--weight)",
               "var(--act)", "var(--chosen)")
    ".w{fill:var(--weight);background:var(--weight)}.a{fill:var(--act);background:var(--act)}.pale{opacity:.38}\n"
    ".count{font-size:10px;fill:var(--ground);font-weight:600}.pale+.count{fill:var(--text)}\n"
    ".mark:hover .w,.mark:hover .a{opacity:.7}\n"
    ".key{display:inline-block;width:11px;height:11px;border-radius:2px;margin-right:5px;vertical-align:-1px}\n"
    ".scroll{overflow-x:auto;border:1px solid var(--line);border-radius:8px;margin-bottom:10px;position:relative}\n"
    ".scroll.tall{max-height:560px;overflow-y:auto}\n"
    "table{border-collapse:separate;border-spacing:0;width:100%;font-size:13.5px;font-variant-numeric:tabular-nums;"
    "overflow-wrap:normal}\n"
    "td,th{padding:6px 10px;text-align:right;white-space:nowrap;border-bottom:1px solid var(--grid)}\n"
    "tbody tr:last-child>*{border-bottom:0}th{font-weight:500}\n"
    "thead th{position:sticky;top:0;background:var(--panel);color:var(--dim);font-size:12.5px;z-index:1}\n"
    "th[scope=row],thead th:first-child,td.text{text-align:left}td.none{color:var(--dim)}\n"
    "th[scope=row]{max-width:260px;overflow:hidden;text-overflow:ellipsis}\n"
    ".long{display:flex;max-width:240px;white-space:pre}.long span{overflow:hidden;text-overflow:ellipsis}\n"
    ".long span+span{flex:none}.who .long{max-width:none}\n"
    "tr.chosen>*{background:var(--pick);font-weight:600}tr.chosen small{font-weight:400}\n"
    ".results td,.results th{padding:6px 7px}.results{font-size:13px}\n"
    ".scroll th[scope=row]{position:sticky;left:0;background:var(--ground);z-index:2}\n"
    ".scroll thead th:first-child{left:0;z-index:3}tr.chosen>th[scope=row]{background:var(--pick)}\n"
    "table.layers thead th:nth-child(2){text-align:left}\n"
    "th button{all:unset;cursor:pointer}th button:hover{color:var(--text)}\n"
    "th button:focus-visible,a:focus-visible,summary:focus-visible{outline:2px solid var(--link);outline-offset:2px}\n"
    "th[aria-sort=ascending] button::after{content:' \\2191'}th[aria-sort=descending] button::after{content:' \\2193'}\n"
    "details{margin:6px 0 12px}summary{cursor:pointer;color:var(--link);font-size:13.5px;margin-bottom:8px}\n"
    ".heat td{text-align:center;border:0;padding:5px 8px;min-width:54px}.heat thead th{text-align:center}\n"
    ".heat thead th:first-child{text-align:left}.heat th[scope=row]{border:0;"
    "border-right:1px solid var(--line);padding:5px 12px}\n"
    ".h0{background:var(--h0)}.h1{background:var(--h1)}.h2{background:var(--h2)}.h3{background:var(--h3)}\n"
    ".h4{background:var(--h4)}.h5{background:var(--h5)}.h6{background:var(--h6)}.h7{background:var(--h7)}\n"
    ".h8{background:var(--h8)}td.h0,td.h1,td.h2,td.h3,td.h4,td.h5{color:var(--hlow)}\n"
    "td.h6,td.h7,td.h8{color:var(--hhigh)}\n"
    ".pick{box-shadow:inset 0 0 0 2px var(--text);font-weight:700}\n"
    ".legend{display:flex;flex-wrap:wrap;align-items:center;gap:0;font-size:12.5px;color:var(--dim)}\n"
    ".legend span:not(.swatch){margin:0 8px 0 0}.legend .swatch+span{margin-left:8px}\n"
    ".swatch{width:18px;height:14px}.swatch.h0{box-shadow:inset 0 0 0 1px var(--line)}.swatch.pick{margin-left:10px}\n"
    ".sr{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}\n"
    ".bar{display:grid;grid-template-columns:minmax(70px,170px) 1fr 110px;gap:10px;align-items:center;"
    "font-size:13.5px;padding:2px 0}\n"
    ".who{overflow:hidden;text-overflow:ellipsis;white-space:nowrap}.much{white-space:nowrap;color:var(--dim)}\n"
    ".bars{margin-bottom:10px;max-width:760px}\n"
    ".track{display:inline-block;background:var(--grid);border-radius:3px;height:12px;overflow:hidden;width:100%}\n"
    "td .track{width:90px;vertical-align:-1px}.fill{display:block;height:100%;background:var(--weight);border-radius:3px}\n"
    ".fill.strong{background:var(--chosen)}.fill.over{background:var(--bad)}\n"
    ".facts,.words{margin:0 0 10px;font-size:14px}.facts{display:grid;gap:6px 36px;"
    "grid-template-columns:repeat(auto-fit,minmax(min(100%,400px),1fr))}\n"
    ".facts div{display:flex;gap:12px;border-bottom:1px solid var(--grid);padding:3px 0}\n"
    ".facts dt{color:var(--dim);flex:0 0 40%}.facts dd,.words dd{margin:0}\n"
    ".words{columns:2;column-gap:36px}.words div{break-inside:avoid;margin-bottom:12px}.words dt{font-weight:600}\n"
    "pre{background:var(--panel);border:1px solid var(--line);border-radius:8px;padding:10px 14px;overflow-x:auto;"
    "font-size:13px}\n"
    "#tip{position:fixed;z-index:9;pointer-events:none;white-space:pre-line;max-width:min(340px,90vw);padding:6px 10px;"
    "border-radius:6px;background:var(--text);color:var(--ground);font-size:12.5px;line-height:1.4}\n"
    "@media (max-width:760px){main{padding:18px 14px 48px}svg.wide{display:none}"
    "svg.narrow{display:block;max-width:460px}span.narrow{display:inline}th[scope=row]{max-width:44vw}.scroll .long{max-width:38vw}.words{columns:1}.lead{font-size:17px}h1{font-size:23px}"
    "td,th{padding:6px 9px}.bar{grid-template-columns:minmax(60px,30%) 1fr 104px}"
    ".tiles{grid-template-columns:1fr 1fr}.tile b{font-size:20px}}\n";

/* Tooltips from what the browser would show by itself, and tables sorted by a click on a heading. */
const char bl_report_script[] =
    "(function () {\n"
    "  'use strict';\n"
    "  var d = document, tip = d.createElement('div');\n"
    "  tip.id = 'tip'; tip.hidden = true; d.body.appendChild(tip);\n"
    "  d.querySelectorAll('svg title').forEach(function (t) {\n"
    "    t.parentNode.setAttribute('data-tip', t.textContent); t.remove();\n"
    "  });\n"
    "  d.querySelectorAll('[title]').forEach(function (t) {\n"
    "    t.setAttribute('data-tip', t.title); t.removeAttribute('title');\n"
    "  });\n"
    "  function follow(e) {\n"
    "    var t = e.target.closest && e.target.closest('[data-tip]');\n"
    "    tip.hidden = !t;\n"
    "    if (!t) return;\n"
    "    tip.textContent = t.getAttribute('data-tip');\n"
    "    var w = tip.offsetWidth, h = tip.offsetHeight;\n"
    "    var x = Math.min(e.clientX + 14, innerWidth - w - 6), y = e.clientY + 16;\n"
    "    if (y + h > innerHeight - 6) y = e.clientY - h - 12;\n"
    "    tip.style.left = Math.max(6, x) + 'px'; tip.style.top = Math.max(6, y) + 'px';\n"
    "  }\n"
    "  d.addEventListener('pointerover', follow);\n"
    "  d.addEventListener('pointermove', follow);\n"
    "  d.addEventListener('scroll', function () { tip.hidden = true; }, true);\n"
    "  function key(row, column) {\n"
    "    var cell = row.cells[column], v = cell.getAttribute('data-v');\n"
    "    return cell.className === 'none' ? null : v === null ? cell.textContent : +v;\n"
    "  }\n"
    "  function sort(table, head, column) {\n"
    "    var up = head.getAttribute('aria-sort') !== 'ascending', body = table.tBodies[0];\n"
    "    table.querySelectorAll('thead th').forEach(function (h) { h.removeAttribute('aria-sort'); });\n"
    "    head.setAttribute('aria-sort', up ? 'ascending' : 'descending');\n"
    "    Array.from(body.rows).map(function (row) {\n"
    "      return { row: row, key: key(row, column) };\n"
    "    }).sort(function (a, b) {\n"
    "      if (a.key === null || b.key === null) return (a.key === null) - (b.key === null);\n"
    "      var order = typeof a.key === 'number' ? a.key - b.key : a.key < b.key ? -1 : a.key > b.key ? 1 : 0;\n"
    "      return up ? order : -order;\n"
    "    }).forEach(function (item) { body.appendChild(item.row); });\n"
    "  }\n"
    "  d.querySelectorAll('table.sort').forEach(function (table) {\n"
    "    table.querySelectorAll('thead th').forEach(function (head, column) {\n"
    "      var button = d.createElement('button');\n"
    "      button.type = 'button'; button.textContent = head.textContent;\n"
    "      head.textContent = ''; head.appendChild(button);\n"
    "      button.addEventListener('click', function () { sort(table, head, column); });\n"
    "    });\n"
    "  });\n"
    "})();\n";
/* clang-format on */
