"use strict";
(() => {
const data = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg", WIDTH = 180, EDGE = 8;
document.documentElement.classList.add("scripted");
const blocks = [...document.querySelectorAll(".workload")];
const workload = document.getElementById("workload"), baseline = document.getElementById("baseline");
const said = document.getElementById("said");
const digits = value => value >= 1000 ? value.toFixed(0) : String(Number(value.toPrecision(3))).includes("e")
    ? value.toPrecision(3) : value.toPrecision(3).includes("e") ? value.toFixed(0) : value.toPrecision(3);

function element(name, attributes, parent) {
    const made = document.createElementNS(SVG, name);
    for (const key in attributes) made.setAttribute(key, attributes[key]);
    if (parent) parent.append(made);
    return made;
}

function show() {
    const number = Number(workload.value) || 0;
    blocks.forEach((block, at) => { block.hidden = at !== number; });
    const facts = data.workloads[blocks[number].dataset.name];
    baseline.replaceChildren(...Object.keys(facts.ratios).map(label => new Option(label, label, false, label === facts.baseline)));
    over();
}

function over() {
    const block = blocks[Number(workload.value) || 0], facts = data.workloads[block.dataset.name];
    const chosen = baseline.value, ratios = facts.ratios[chosen] || {};
    const edges = Object.values(ratios).flatMap(ratio => ratio.filter(value => value > 0)).map(Math.log);
    const low = Math.min(0, ...edges), high = Math.max(0.01, ...edges);
    const place = value => EDGE + (Math.log(value) - low) / (high - low) * (WIDTH - 2 * EDGE);
    block.querySelector(".over").textContent = "over " + chosen;
    for (const line of block.querySelectorAll("tbody tr:not(.bad)")) {
        const ratio = ratios[line.dataset.label], cell = line.querySelector(".ratio"), picture = line.querySelector(".plot svg");
        picture.replaceChildren();
        cell.replaceChildren();
        line.dataset.ratio = ratio ? ratio[0] : 0;
        if (!ratio) { cell.textContent = "–"; continue; }
        cell.append(line.dataset.label === chosen ? "1" : digits(ratio[0]));
        const colour = picture.dataset.colour;
        if (ratio[1] && line.dataset.label !== chosen) {
            const interval = document.createElement("span");
            interval.className = "interval";
            interval.textContent = ` ${digits(ratio[1])} to ${digits(ratio[2])}`;
            cell.append(interval);
            element("line", {x1: place(ratio[1]), x2: place(ratio[2]), y1: 8, y2: 8, stroke: colour, "stroke-width": 4, "stroke-linecap": "round", opacity: 0.45}, picture);
        }
        element("line", {x1: place(1), x2: place(1), y1: 0, y2: 16, stroke: "currentColor", opacity: 0.35}, picture);
        element("circle", {cx: place(ratio[0]), cy: 8, r: 4, fill: colour}, picture);
    }
}

function value(line, key, facts) {
    return key === "ratio" ? Number(line.dataset.ratio) : facts.rows[line.dataset.label][key] ?? 0;
}

function sort(block, heading) {
    const key = heading.dataset.sort, facts = data.workloads[block.dataset.name];
    const ascending = heading.getAttribute("aria-sort") !== "ascending";
    const body = block.querySelector("tbody"), lines = [...body.rows].filter(line => !line.classList.contains("bad"));
    lines.sort((left, right) => {
        const a = value(left, key, facts), b = value(right, key, facts);
        return (a < b ? -1 : a > b ? 1 : 0) * (ascending ? 1 : -1);
    });
    body.prepend(...lines);
    for (const each of block.querySelectorAll("th[aria-sort]")) each.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    said.textContent = `Sorted by ${heading.textContent.trim()}, ${ascending ? "lowest" : "highest"} first.`;
}

for (const block of blocks) {
    for (const heading of block.querySelectorAll("th[data-sort]")) {
        const button = document.createElement("button");
        button.type = "button";
        button.append(...heading.childNodes);
        heading.append(button);
        button.addEventListener("click", () => sort(block, heading));
    }
}
if (blocks.length) {
    workload.addEventListener("change", () => { show(); said.textContent = `Showing ${workload.selectedOptions[0].textContent}.`; });
    baseline.addEventListener("change", () => { over(); said.textContent = `Speed-ups over ${baseline.value}.`; });
    show();
}

document.getElementById("csv").addEventListener("click", () => {
    const name = blocks[Number(workload.value) || 0].dataset.name, ratios = data.workloads[name].ratios[baseline.value] || {};
    const quoted = text => `"${String(text ?? "").replaceAll('"', '""')}"`;
    const lines = [["row", "rank", "seconds", "speed-up over " + baseline.value, "low", "high", "% of peak", "cores", "outcome"]];
    for (const row of Object.values(data.workloads[name].rows)) lines.push([row.label, row.rank || "", row.seconds, ...(ratios[row.label] || ["", "", ""]), row.percent, row.cores, row.reason]);
    const link = document.createElement("a");
    link.download = `speed-ups-${name}.csv`;
    link.href = URL.createObjectURL(new Blob([lines.map(line => line.map(quoted).join(",")).join("\r\n") + "\r\n"], {type: "text/csv"}));
    link.click();
    URL.revokeObjectURL(link.href);
});

// --- Flamegraphs ---
const HEIGHT = 18, ACROSS = 1000;

function flame(details) {
    const recording = data.recordings[details.dataset.recording], graph = details.querySelector(".graph");
    const words = details.querySelector(".frame-words"), matched = details.querySelector(".matched");
    const search = details.querySelector(".search");
    let zoomed = [recording.tree];
    const name = node => recording.frames[node[0]];
    const share = node => (100 * node[1] / recording.tree[1]).toFixed(1);

    function draw(focus) {
        const base = zoomed[zoomed.length - 1], levels = [];
        const text = search.value.toLowerCase();
        const place = (node, x, width, level, open) => {
            (levels[level] ||= []).push([node, x, width, open]);
            let at = x;
            for (const child of node[3]) {
                const wide = width * child[1] / node[1];
                if (wide > 1) place(child, at, wide, level + 1, open);
                at += wide;
            }
        };
        zoomed.slice(0, -1).forEach((node, level) => levels.push([[node, 0, ACROSS, false]]));
        place(base, 0, ACROSS, zoomed.length - 1, true);
        const picture = element("svg", {viewBox: `0 0 ${ACROSS} ${HEIGHT * levels.length}`, role: "group", "aria-label": recording.title});
        let found = 0;
        levels.forEach((frames, level) => frames.forEach(([node, x, width, open]) => {
            const [, colour, ink] = node[2] < 0 ? ["", "#e8e8e8", "#111111"] : data.categories[node[2]];
            const hit = text && name(node).toLowerCase().includes(text);
            const group = element("g", {tabindex: width > 12 ? 0 : -1, role: "button", "aria-label": `${name(node)}: ${share(node)} %`, fill: ink}, picture);
            if (!open || (text && !hit)) group.classList.add("faint");
            const y = HEIGHT * (levels.length - 1 - level);
            element("rect", {x, y, width, height: HEIGHT - 1, fill: colour}, group);
            const room = Math.floor((width - 6) / 6.2);
            if (room > 2) {
                const label = element("text", {x: x + 3, y: y + 13}, group);
                label.textContent = name(node).length <= room ? name(node) : name(node).slice(0, room - 1) + "…";
            }
            const told = () => { words.textContent = `${name(node)}: ${node[1]} samples, ${share(node)} %`; };
            group.addEventListener("pointerenter", told);
            group.addEventListener("focus", told);
            const zoom = () => {
                const at = zoomed.indexOf(node);
                zoomed = at >= 0 ? zoomed.slice(0, at + 1) : [...path(base, node, zoomed)];
                draw(true);
                told();
            };
            group.addEventListener("click", zoom);
            group.addEventListener("keydown", event => {
                if (event.key === "Enter" || event.key === " ") { event.preventDefault(); zoom(); }
                if (event.key === "Escape") { zoomed = [recording.tree]; draw(true); }
            });
        }));
        graph.replaceChildren(picture);
        if (focus) picture.querySelectorAll("g")[zoomed.length - 1]?.focus();
        if (text) {
            const count = node => name(node).toLowerCase().includes(text) ? node[1] : node[3].reduce((sum, child) => sum + count(child), 0);
            found = count(recording.tree);
            matched.textContent = `${(100 * found / recording.tree[1]).toFixed(1)} % of the samples`;
        } else matched.textContent = "";
    }

    function path(from, to, before) {
        const walk = (node, trail) => {
            if (node === to) return trail;
            for (const child of node[3]) {
                const found = walk(child, [...trail, child]);
                if (found) return found;
            }
            return null;
        };
        return walk(from, before) || before;
    }
    search.addEventListener("input", () => draw(false));
    draw(false);
}

for (const details of document.querySelectorAll(".flame")) {
    let drawn = false;
    details.addEventListener("toggle", () => { if (details.open && !drawn) { drawn = true; flame(details); } });
}
addEventListener("beforeprint", () => blocks.forEach(block => { block.hidden = false; }));
addEventListener("afterprint", () => { if (blocks.length) show(); });
})();
