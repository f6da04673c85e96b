// Plays one slice of a cine on a canvas: grey frames, contours of the label masks, scale bar, and the cavity's area with
// ED and ES. All frames are sent once; playing needs no kernel.

const TIMELINE = 86; // height of the area curve, CSS pixels
const INK = "#ffffff", DIM = "#c8c8c8", BACK = "#101010", MARK = "#ffb000";

function bytes(view) {
  return view ? new Uint8Array(view.buffer, view.byteOffset, view.byteLength) : new Uint8Array();
}

// Marching squares over pixel centres: line segments between "mask" and "not mask".
function outline(context, labels, start, width, height, wanted, sx, sy) {
  const at = (x, y) => (labels[start + y * width + x] === wanted ? 1 : 0);
  context.beginPath();
  for (let y = 0; y + 1 < height; y++) {
    for (let x = 0; x + 1 < width; x++) {
      const corners = at(x, y) | (at(x + 1, y) << 1) | (at(x + 1, y + 1) << 2) | (at(x, y + 1) << 3);
      if (corners === 0 || corners === 15) continue;
      const top = [x + 1, y + 0.5], right = [x + 1.5, y + 1], bottom = [x + 1, y + 1.5], left = [x + 0.5, y + 1];
      const pairs = {
        1: [[left, top]], 2: [[top, right]], 3: [[left, right]], 4: [[right, bottom]], 6: [[top, bottom]],
        7: [[left, bottom]], 8: [[bottom, left]], 9: [[top, bottom]], 11: [[right, bottom]], 12: [[left, right]],
        13: [[top, right]], 14: [[left, top]], 5: [[left, top], [right, bottom]], 10: [[top, right], [bottom, left]],
      }[corners];
      for (const [from, to] of pairs) {
        context.moveTo(from[0] * sx, from[1] * sy);
        context.lineTo(to[0] * sx, to[1] * sy);
      }
    }
  }
  context.stroke();
}

function render({ model, el }) {
  const box = document.createElement("div");
  box.className = "eccl-player";
  box.style.cssText = "width:100%;max-width:420px;font:12px sans-serif";
  const canvas = document.createElement("canvas");
  canvas.style.cssText = "width:100%;display:block;border-radius:4px;touch-action:none";
  canvas.setAttribute("role", "img");
  const bar = document.createElement("div");
  bar.style.cssText = "display:flex;gap:10px;align-items:center;padding:4px 0;color:var(--jp-ui-font-color1,inherit)";
  const button = document.createElement("button");
  const choice = document.createElement("label");
  const check = document.createElement("input");
  check.type = "checkbox";
  check.checked = true;
  choice.append(check, " contours");
  const clock = document.createElement("span");
  bar.append(button, choice, clock);
  box.append(canvas, bar);
  el.append(box);

  const small = document.createElement("canvas"); // one frame, one canvas pixel for each image pixel
  let playing = !window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  let frame = 0, since = 0, waiting = 0, pixels, labels, frames, height, width, spacing;

  function load() {
    [frames, height, width] = model.get("shape");
    pixels = bytes(model.get("pixels"));
    labels = bytes(model.get("labels"));
    spacing = model.get("spacing");
    frame = frames ? frame % frames : 0;
    choice.style.display = labels.length ? "" : "none";
    draw();
  }

  function draw() {
    if (!frames || pixels.length !== frames * height * width) return;
    const [down, across] = spacing.length ? spacing : [1, 1];
    const wide = box.clientWidth || 360, ratio = window.devicePixelRatio || 1;
    const sx = wide / width, sy = (sx * down) / across, tall = Math.round(height * sy);
    const area = model.get("area"), below = area.length ? TIMELINE : 0;
    canvas.width = wide * ratio;
    canvas.height = (tall + below) * ratio;
    canvas.style.height = tall + below + "px";
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    context.fillStyle = BACK;
    context.fillRect(0, 0, wide, tall + below);
    drawFrame(context, wide, tall, sx, sy);
    context.font = "bold 13px sans-serif";
    const end = model.get("end_systole");
    const name = frame === 0 ? "ED" : frame === end ? "ES" : "";
    const ms = model.get("frame_ms"), time = ms ? Math.round(frame * ms) + " ms" : "frame " + frame;
    if (name) {
      context.fillStyle = "rgba(0,0,0,0.7)";
      context.fillRect(4, 4, context.measureText(name).width + 8, 19);
      context.fillStyle = MARK;
      context.fillText(name, 8, 18);
    }
    clock.textContent = time + " (frame " + frame + " of " + frames + ")";
    if (spacing.length) scale(context, tall, sx / across);
    if (below) curve(context, area, end, wide, tall);
    button.textContent = playing ? "pause" : "play";
    canvas.setAttribute("aria-label", model.get("title") + ", " + time);
  }

  function drawFrame(context, wide, tall, sx, sy) {
    small.width = width;
    small.height = height;
    const inner = small.getContext("2d"), image = inner.createImageData(width, height);
    const start = frame * height * width;
    for (let k = 0; k < height * width; k++) {
      image.data[4 * k] = image.data[4 * k + 1] = image.data[4 * k + 2] = pixels[start + k];
      image.data[4 * k + 3] = 255;
    }
    inner.putImageData(image, 0, 0);
    context.imageSmoothingQuality = "high";
    context.drawImage(small, 0, 0, wide, tall);
    if (!check.checked || !labels.length) return;
    context.lineWidth = 1.6;
    for (const [label, name, colour] of model.get("colours")) {
      context.strokeStyle = colour;
      outline(context, labels, start, width, height, label, sx, sy);
    }
    context.font = "11px sans-serif";
    let y = 16;
    for (const [label, name, colour] of model.get("colours")) {
      context.fillStyle = "rgba(0,0,0,0.55)";
      const across = context.measureText(name).width;
      context.fillRect(wide - across - 12, y - 11, across + 8, 15);
      context.fillStyle = colour;
      context.fillText(name, wide - across - 8, y);
      y += 16;
    }
  }

  function scale(context, tall, perMm) {
    const mm = model.get("bar_mm");
    context.fillStyle = INK;
    context.fillRect(10, tall - 12, mm * perMm, 4);
    context.font = "12px sans-serif";
    context.fillText(mm + " mm", 10, tall - 17);
  }

  function curve(context, area, end, wide, tall) {
    const top = Math.max(...area) * 1.1, left = 8, right = 8, bottom = 16;
    const x = (k) => left + (k / (area.length - 1)) * (wide - left - right);
    const y = (value) => tall + TIMELINE - bottom - (value / top) * (TIMELINE - bottom - 14);
    context.strokeStyle = DIM;
    context.lineWidth = 1.5;
    context.beginPath();
    area.forEach((value, k) => (k ? context.lineTo(x(k), y(value)) : context.moveTo(x(k), y(value))));
    context.stroke();
    context.font = "11px sans-serif";
    for (const [k, name] of [[0, "ED"], [end, "ES"]]) {
      context.fillStyle = MARK;
      context.fillRect(x(k) - 0.5, tall + 4, 1, TIMELINE - bottom - 4);
      context.fillText(name + " " + area[k].toFixed(1) + " cm\u00b2", x(k) + 4, tall + TIMELINE - 4);
    }
    context.fillStyle = INK;
    context.beginPath();
    context.arc(x(frame), y(area[frame]), 4, 0, 2 * Math.PI);
    context.fill();
    context.fillStyle = DIM;
    context.fillText("LV cavity", wide - 58, tall + 13);
  }

  function tick(now) {
    const step = model.get("frame_ms") || 40;
    if (playing && frames && now - since >= step) {
      frame = (frame + Math.max(1, Math.min(frames, Math.floor((now - since) / step)))) % frames;
      since = now;
      if (box.isConnected) draw();
    }
    waiting = requestAnimationFrame(tick);
  }

  function seek(event) {
    if (event.type === "pointermove" && !event.buttons) return;
    const place = canvas.getBoundingClientRect();
    playing = false;
    frame = Math.max(0, Math.min(frames - 1, Math.round(((event.clientX - place.left) / place.width) * (frames - 1))));
    draw();
  }

  button.onclick = () => {
    playing = !playing;
    draw();
  };
  check.onchange = draw;
  canvas.addEventListener("pointerdown", seek);
  canvas.addEventListener("pointermove", seek);
  model.on("change:pixels", load);
  const watch = new ResizeObserver(draw);
  watch.observe(box);
  load();
  waiting = requestAnimationFrame(tick);
  return () => {
    cancelAnimationFrame(waiting);
    watch.disconnect();
    model.off("change:pixels", load);
  };
}

export default { render };
