"""Colours, type and layout: one palette for light and dark, in which every text and mark keeps its contrast."""

from __future__ import annotations

from typing import Final

LIGHT: Final = {
    "page": "#f6f7f9",
    "card": "#ffffff",
    "ink": "#14181f",
    "soft": "#56606e",
    "line": "#dde1e7",
    "grid": "#e8ebef",
    "axis": "#8c95a1",
    "tint": "#f1f3f6",
    "link": "#0b57b8",
    "peer": "#68727f",
    "bad": "#bb2231",
    "bad-tint": "#fdecec",
    "good": "#0f7a4c",
    "warn": "#8f5a00",
    "warn-tint": "#fdf3df",
    "wait": "#7d8794",
    "compute": "#c2410c",
    "stt": "#0e7490",
    "llm": "#6d3fc0",
    "clause": "#9a5bd6",
    "tts": "#b0760a",
    "held": "#87909c",
    "hue0": "#0b62c4",
    "hue1": "#c2500a",
    "hue2": "#0a7f6b",
    "hue3": "#8a3fc0",
    "hue4": "#99700a",
    "hue5": "#c2266e",
    "hue6": "#4c7a12",
    "hue7": "#7a4a2b",
}
DARK: Final = {
    "page": "#0f1216",
    "card": "#171b21",
    "ink": "#e9ecf1",
    "soft": "#a2acb9",
    "line": "#2d343d",
    "grid": "#262c34",
    "axis": "#77818d",
    "tint": "#1e242b",
    "link": "#7db7ff",
    "peer": "#9aa4b1",
    "bad": "#ff7d84",
    "bad-tint": "#3a1d21",
    "good": "#4fc98e",
    "warn": "#e6b450",
    "warn-tint": "#33290f",
    "wait": "#7c8693",
    "compute": "#fb8a52",
    "stt": "#3fb8d4",
    "llm": "#a78bfa",
    "clause": "#cfa6f5",
    "tts": "#e3b341",
    "held": "#77818d",
    "hue0": "#6aaef7",
    "hue1": "#f58a4b",
    "hue2": "#3fc7ad",
    "hue3": "#c08bf0",
    "hue4": "#dcb04a",
    "hue5": "#f27aab",
    "hue6": "#9ccc52",
    "hue7": "#cfa58a",
}


def stylesheet() -> str:
    """All of the page's CSS. Dark follows the reader's system until the button of the page says otherwise."""
    light = "".join(f"--{name}:{value};" for name, value in LIGHT.items())
    dark = "".join(f"--{name}:{value};" for name, value in DARK.items())
    hues = "".join(f".hue{index}{{--c:var(--hue{index})}}" for index in range(8))
    return (
        f":root{{color-scheme:light;{light}}}\n"
        f"@media screen and (prefers-color-scheme:dark){{:root:not([data-theme=light]){{color-scheme:dark;{dark}}}}}\n"
        f"@media screen{{:root[data-theme=dark]{{color-scheme:dark;{dark}}}}}\n"
        f"{hues}.peer{{--c:var(--peer)}}\n{BASE}{TABLES}{CHARTS}{WATERFALL}{NARROW}{PRINT}"
    )


BASE = """
*{box-sizing:border-box}
[hidden]{display:none!important}
html{scroll-behavior:smooth;scroll-padding-top:3.6rem;-webkit-text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--ink);
  font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;
  font-variant-numeric:tabular-nums}
main,.top{max-width:1160px;margin:0 auto;padding:0 24px}
.top{padding-top:36px}
h1{font-size:1.9rem;line-height:1.2;letter-spacing:-.02em;margin:0 0 .3rem;font-weight:700}
h2{font-size:1.3rem;line-height:1.25;letter-spacing:-.01em;margin:0 0 .25rem;font-weight:680}
h3{font-size:1rem;margin:1.6rem 0 .5rem;font-weight:650}
p{margin:.35rem 0 .8rem;max-width:76ch}
a{color:var(--link)}
code,kbd{font:.88em/1.45 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;overflow-wrap:anywhere}
.lead{font-size:1.12rem;max-width:70ch;margin-bottom:.5rem}
.meta,.note,.soft{color:var(--soft)}
.meta{font-size:.87rem;margin:0}
.note{font-size:.87rem}
.num{white-space:nowrap}
nav{position:sticky;top:0;z-index:5;background:var(--page);border-bottom:1px solid var(--line);margin-top:18px}
nav ul{list-style:none;display:flex;gap:2px 18px;max-width:1160px;margin:0 auto;padding:9px 24px;overflow-x:auto;
  scrollbar-width:none;align-items:center}
nav a{color:var(--soft);text-decoration:none;font-size:.87rem;white-space:nowrap}
nav a:hover,nav a:focus-visible{color:var(--link);text-decoration:underline}
nav li:last-child{margin-left:auto}
button,select,input[type=search]{font:inherit;font-size:.87rem;color:var(--ink);background:var(--card);
  border:1px solid var(--line);border-radius:7px;padding:4px 10px;min-height:32px}
button{cursor:pointer;white-space:nowrap}
:focus-visible{outline:2px solid var(--link);outline-offset:2px}
section{background:var(--card);border:1px solid var(--line);border-radius:14px;padding:24px 26px 22px;margin:20px 0}
section.bare{background:none;border:0;padding:0}
footer{color:var(--soft);font-size:.85rem;padding:8px 0 48px}
.who{display:inline-block;position:relative;padding-left:1.2em;text-align:left;overflow-wrap:break-word}
.who .swatch{position:absolute;left:0;top:.42em}
.who .tag{margin-left:8px}
.rank{white-space:nowrap}.rank .tag{margin-left:6px}
.small{font-size:.79rem}
.swatch{display:inline-block;width:.72em;height:.72em;border-radius:3px;background:var(--c);margin-right:.5em;flex:none}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,318px),1fr));gap:14px;margin:20px 0 0}
.card{background:var(--card);border:1px solid var(--line);border-top:3px solid var(--c);border-radius:12px;
  padding:15px 18px 14px}
.card h3{margin:0 0 .7rem;font-size:.98rem;overflow-wrap:anywhere}
.card .tag{float:right;margin-left:8px}
.pair{display:grid;grid-template-columns:1fr 1fr;gap:12px}
.card dl{margin:0}
.card dt{color:var(--soft);font-size:.8rem}
.card dd{margin:0}
.big{font-size:1.78rem;line-height:1.15;font-weight:680;letter-spacing:-.02em;white-space:nowrap}
.big small{font-size:.85rem;font-weight:500;letter-spacing:0;color:var(--soft)}
.card dd.sub{font-size:.79rem;color:var(--soft);min-height:1.2em}
.trio{display:grid;grid-template-columns:1fr 1fr 1fr;gap:10px;border-top:1px solid var(--line);margin-top:12px;
  padding-top:10px}
.trio .val{font-size:1.06rem;font-weight:620}
.tag{font-size:.73rem;font-weight:600;border-radius:99px;padding:1px 8px;background:var(--tint);color:var(--soft);
  white-space:nowrap;display:inline-block}
.tag.bad{background:var(--bad-tint);color:var(--bad)}
.tag.warn{background:var(--warn-tint);color:var(--warn)}
.facts{display:grid;grid-template-columns:minmax(8rem,max-content) 1fr;gap:4px 20px;margin:.4rem 0 0;font-size:.92rem}
.facts dt{color:var(--soft)}
.facts dd{margin:0;overflow-wrap:anywhere}
.facts.terms{gap:9px 20px}.facts.terms dt{color:var(--ink);font-weight:600}
.two{display:grid;grid-template-columns:1fr 1fr;gap:8px 36px}
.tip{position:absolute;z-index:9;background:var(--ink);color:var(--card);font-size:.8rem;line-height:1.4;
  padding:6px 9px;border-radius:7px;max-width:330px;white-space:pre-line;pointer-events:none;left:0;top:0}
"""

TABLES = """
.scroll{overflow-x:auto;margin:.4rem -26px 0;padding:0 26px}
table{border-collapse:collapse;width:100%;font-size:.9rem}
caption{text-align:left;color:var(--soft);font-size:.85rem;padding-bottom:8px}
th,td{padding:6px 8px;text-align:right;vertical-align:baseline;border-bottom:1px solid var(--grid)}
th{font-weight:600}
thead th{color:var(--soft);font-size:.82rem;font-weight:600;border-bottom:1px solid var(--axis);vertical-align:bottom}
th:first-child,td:first-child{text-align:left;padding-left:0}
th:last-child,td:last-child{padding-right:0}
.left,td.left,th.left{text-align:left}
table.summary{table-layout:fixed;border-collapse:separate;border-spacing:0}
table.summary .who{overflow-wrap:anywhere;max-width:100%}
table.summary thead th{font-size:.8rem;padding:6px}
td .ci,.ci{display:block;color:var(--soft);font-size:.78rem;font-weight:400;white-space:nowrap}
table.summary th[scope=row]{font-weight:500;white-space:nowrap}
table.summary th:first-child{position:sticky;left:0;background:var(--card);padding-right:18px}
table.summary tr.group th{color:var(--soft);font-size:.79rem;font-weight:650;padding-top:17px;
  border-bottom-color:var(--axis)}
table.summary .first-peer{border-left:1px solid var(--axis)}
td.none{color:var(--soft)}
tr.front td,tr.front th{font-weight:620}
tr.base{background:var(--tint)}
@media (min-width:761px){
  tr.base th:first-child{box-shadow:-10px 0 0 var(--tint)}
  tr.base td:last-child{box-shadow:10px 0 0 var(--tint)}
}
.scroll th:has(.with){min-width:170px}
"""

CHARTS = """
.pic{display:block;overflow:visible}
.pic text{font-size:11.5px;font-weight:400;fill:var(--ink)}
.pic .tick{fill:var(--soft);font-size:11.5px}
.g{stroke:var(--grid);stroke-width:1}
.g.zero,.g.base{stroke:var(--axis)}
.stretch{overflow:visible}
.dot{fill:var(--c);fill-opacity:.62;stroke:var(--card);stroke-width:.8}
.dot.cold{fill:var(--card);fill-opacity:1;stroke:var(--c);stroke-width:1.6}
.band{fill:var(--c);fill-opacity:.2}
.mid{stroke:var(--c);stroke-width:2.5}
.late{stroke:var(--c);stroke-width:1.6;stroke-dasharray:3 2}
.ref{stroke:var(--good);stroke-width:1.3;stroke-dasharray:2 3}
.pic .reftext{fill:var(--good);font-size:11px}
.bar{fill:var(--c)}
.bar.wait,.whisk.wait{fill:var(--wait);stroke:var(--wait)}
.bar.compute,.whisk.compute{fill:var(--compute);stroke:var(--compute)}
.bar{stroke:none!important}
.whisk{stroke-width:1.5;fill:none!important}
.curve{fill:none;stroke:var(--c);stroke-width:2.2;stroke-linejoin:round}
.curve.d1{stroke-dasharray:8 3}.curve.d2{stroke-dasharray:2.5 2.5}.curve.d3{stroke-dasharray:9 3 2 3}
.curve.second{stroke-dasharray:5 4;stroke-width:1.8}
.curve.front{stroke:var(--hue0);stroke-width:2}
.point{fill:var(--c);stroke:var(--card);stroke-width:1.2}
.point.on{fill:var(--hue0)}
.point.off{fill:var(--card);stroke:var(--peer);stroke-width:1.6}
.err{stroke:var(--peer);stroke-opacity:.5;stroke-width:1}
.pic .mark{font-size:11px;font-weight:650}
.pic .mark.off{fill:var(--soft);font-weight:500}
.fade{fill:var(--bad);fill-opacity:.08}
.limit{stroke:var(--bad);stroke-width:1.4;stroke-dasharray:4 3}
.pic .limittext{fill:var(--bad);font-size:11px;font-weight:600}
.plot{display:grid;grid-template-columns:44px 1fr;column-gap:8px;margin:.3rem 0 .2rem}
.plot .ytitle{grid-column:1/3;color:var(--soft);font-size:.82rem;margin-bottom:10px}
.plot>.pic{min-width:0}
.plot .xtitle{grid-column:2;color:var(--soft);font-size:.82rem;text-align:right}
.panels{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,400px),1fr));gap:26px 36px;margin-top:14px}
.panels.three{grid-template-columns:repeat(auto-fit,minmax(min(100%,290px),1fr))}
.panels h3,.panels h4{margin:0 0 .3rem;font-size:.93rem}
.key{display:flex;flex-wrap:wrap;gap:4px 20px;list-style:none;margin:.6rem 0 .4rem;padding:0;font-size:.84rem;
  color:var(--soft)}
.key li{display:flex;align-items:center;gap:7px}
.key svg{flex:none;overflow:visible}
.key.wide li{align-items:baseline}
.key b{color:var(--ink);font-weight:600}
table.fig{margin-top:10px}
table.fig td.chart,table.fig th.chart{width:54%;padding:0 20px}
td.chart{overflow:hidden}
table.fig td,table.fig th{vertical-align:middle}
table.fig thead th{border-bottom:0;vertical-align:bottom}
table.fig tbody td,table.fig tbody th{border-bottom:1px solid var(--grid)}
table.fig th[scope=row]{width:23%;overflow-wrap:anywhere}
.with{display:block;color:var(--soft);font-size:.79rem;font-weight:400;line-height:1.4}
"""

WATERFALL = """
.controls{display:flex;flex-wrap:wrap;gap:8px 14px;align-items:center;margin:14px 0 6px;font-size:.87rem}
.controls label{display:flex;gap:6px;align-items:center;color:var(--soft)}
.controls output{color:var(--soft);margin-left:auto}
details.run{border-top:1px solid var(--line);margin-top:12px}
details.run>summary{cursor:pointer;padding:11px 0 9px;font-weight:620}
details.run>summary .with{display:inline;margin-left:.8em}
table.falls{table-layout:fixed}
table.falls col.name{width:26%}table.falls col.n{width:78px}
table.falls td,table.falls th{padding:4px 8px;vertical-align:middle}
table.falls td:first-child,table.falls th:first-child{padding-left:0}
table.falls tbody th{font-weight:500;font-size:.86rem;text-align:left;overflow-wrap:anywhere;line-height:1.3}
table.falls .chart{padding:0 16px!important}
table.falls tbody.bad>tr:first-child>*{border-bottom-color:transparent}
table.falls tr.said td{text-align:left;padding:0 0 9px;font-size:.84rem;color:var(--soft)}
table.falls summary{cursor:pointer}
.said dl{display:grid;grid-template-columns:max-content 1fr;gap:1px 12px;margin:4px 0 4px}
.said dt{color:var(--soft)}.said dd{margin:0;color:var(--ink);overflow-wrap:anywhere}
.speech{fill:var(--tint)}
.s-wait{fill:var(--wait)}.s-compute{fill:var(--compute)}.s-whole{fill:var(--peer)}
.s-stt{fill:var(--stt)}.s-llm{fill:var(--llm)}.s-clause{fill:var(--clause)}.s-tts{fill:var(--tts)}
.s-held{fill:none;stroke:var(--held);stroke-width:1.4;stroke-dasharray:2 2}
.s-early{fill:var(--bad);fill-opacity:.75}
.t-vad{stroke:var(--ink);stroke-width:1.5}
.t-commit{fill:var(--ink)}
.t-audible{stroke:var(--ink);stroke-width:2}
.t-stt{fill:var(--stt)}.t-llm{fill:var(--llm)}.t-clause{fill:var(--clause)}.t-tts{fill:var(--tts)}
.off-edge{fill:var(--soft)}
"""

NARROW = """
@media screen and (max-width:760px){
  body{font-size:14.5px}
  main,.top{padding-left:14px;padding-right:14px}
  nav ul{padding-left:14px;padding-right:14px}
  .top{padding-top:22px}h1{font-size:1.55rem}
  section{padding:18px 14px 16px;border-radius:11px}
  .scroll{margin-left:-14px;margin-right:-14px;padding:0 14px}
  .two{grid-template-columns:1fr}
  .tick.odd{display:none}
  .facts{grid-template-columns:1fr;gap:0}.facts dd{margin-bottom:7px}
  table.fig thead tr,table.fig tbody tr{display:grid;grid-template-columns:1fr 1fr;align-items:baseline;
    border-bottom:1px solid var(--grid);padding:8px 0 5px;column-gap:14px}
  table.fig tr.base{margin:0 -8px;padding-left:8px;padding-right:8px}
  table.fig tbody td,table.fig tbody th,table.fig thead th{border:0;padding:2px 0}
  table.fig th[scope=row]{grid-column:1/-1;width:auto!important}
  table.fig .chart{grid-column:1/-1;grid-row:3;width:100%!important;padding:3px 8px!important}
  table.fig td.n{text-align:left}
  table.fig td.n .ci{display:inline;margin-left:6px}
  table.fig td.n::before{content:attr(data-h) " ";color:var(--soft);font-size:.78rem}
  table.fig thead th:not(.chart){display:none}
  table.falls,table.falls tbody,table.falls thead{display:block}
  table.falls colgroup{display:none}
  table.falls caption{display:block}
  table.falls tr.fall,table.falls thead tr{display:grid;grid-template-columns:1fr auto auto auto;column-gap:10px;
    align-items:baseline;padding:5px 0 3px;border-bottom:1px solid var(--grid)}
  table.falls tr.fall>*,table.falls thead tr>*{border:0;padding:0}
  table.falls .chart{grid-column:1/-1;padding:2px 8px!important}
  table.falls tr.fall .chart{grid-row:2}
  table.falls thead th:not(.chart){display:none}
  table.falls tr.said,table.falls tr.said td{display:block}
  table.falls td.n::before{content:attr(data-h) " ";color:var(--soft);font-size:.74rem}
  .controls output{margin-left:0;width:100%}
}
"""

PRINT = """
@page{margin:12mm}
@media print{
  body{background:#fff;font-size:8.5pt}
  h1{font-size:17pt}h2{font-size:13pt}.lead{font-size:10pt}
  nav,.controls,.tip{display:none!important}
  main,.top{max-width:none;padding:0}
  section{border:0;border-radius:0;padding:0;margin:16pt 0;break-inside:auto}
  .card,tr,.plot,table.falls tbody{break-inside:avoid}
  .cards{grid-template-columns:repeat(3,1fr)}.big{font-size:15pt}.card{padding:8px 10px}
  h2,h3{break-after:avoid}
  .scroll{overflow:visible;margin:0;padding:0}
  table{font-size:8pt}.pic text{font-size:9px!important}
  table.summary col:first-child{width:130px!important}
  table.summary{min-width:0!important}
  table.summary th[scope=row]{white-space:normal}
  *{print-color-adjust:exact;-webkit-print-color-adjust:exact}
  details.run::details-content{content-visibility:visible!important;block-size:auto!important}
}
@media (prefers-reduced-motion:reduce){html{scroll-behavior:auto}}
"""
