"""Scenes to labelled images: cast the rays, paint what they meet, light it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from densemtl_core.data.class_lists import CITYSCAPES_19
from densemtl_core.data.further_labels import derive_further
from densemtl_core.data.street.ground import intersect_ground, paint_ground
from densemtl_core.data.street.materials import paint
from densemtl_core.data.street.raycast import cast, screen_boxes
from densemtl_core.data.street.scene import COLUMN, Camera, Scene, stack
from densemtl_core.data.street.shading import arriving_light, develop, dot, reflection, relative_light, sky
from densemtl_core.data.street.shadows import shadow_map, sunlit
from densemtl_core.data.street.surfaces import surface

__all__ = ["EDGE_STEP", "edge_map", "render"]

EDGE_STEP = 0.08
"""Relative depth step between neighbours that makes an edge."""


def rotation(camera: Camera) -> list[list[float]]:
    """Camera-to-world rotation: yaw to the right, then pitch upwards, then roll clockwise."""
    cy, sy = math.cos(camera.yaw), math.sin(camera.yaw)
    cp, sp = math.cos(camera.pitch), math.sin(camera.pitch)
    cr, sr = math.cos(camera.roll), math.sin(camera.roll)
    yaw = [[cy, 0.0, sy], [0.0, 1.0, 0.0], [-sy, 0.0, cy]]
    pitch = [[1.0, 0.0, 0.0], [0.0, cp, -sp], [0.0, sp, cp]]
    roll = [[cr, -sr, 0.0], [sr, cr, 0.0], [0.0, 0.0, 1.0]]

    def product(a: list[list[float]], b: list[list[float]]) -> list[list[float]]:
        return [[sum(a[i][k] * b[k][j] for k in range(3)) for j in range(3)] for i in range(3)]

    return product(product(yaw, pitch), roll)


def intrinsics(camera: Camera, size: tuple[int, int]) -> list[list[float]]:
    """Pinhole matrix in pixels; the centre of the top-left pixel is (0, 0)."""
    h, w = size
    focal = w / 2 / math.tan(camera.fov / 2)
    return [[focal, 0, (w - 1) / 2 + camera.shift_x * w], [0, focal, (h - 1) / 2 + camera.shift_y * h], [0, 0, 1]]


def edge_map(label: Tensor, instance: Tensor, depth: Tensor) -> Tensor:
    """Thin edges: class, object or depth changes between 4-neighbours, marked on the nearer side.

    Args:
        label: ``(B, H, W)`` class ids.
        instance: ``(B, H, W)`` objects.
        depth: ``(B, H, W)`` metres, inf = none.

    Returns:
        ``(B, H, W)`` float32 in {0, 1}.
    """
    edge = torch.zeros_like(depth)
    for axis in (1, 2):
        n = label.shape[axis] - 1
        a, b = (
            [x.narrow(axis, 0, n) for x in (label, instance, depth)],
            [x.narrow(axis, 1, n) for x in (label, instance, depth)],
        )
        near, far = torch.minimum(a[2], b[2]), torch.maximum(a[2], b[2])
        # Ground and sky share instance 0 and slope away smoothly: there only objects make depth steps.
        step = (far > near * (1 + EDGE_STEP)) & ((a[1] > 0) | (b[1] > 0))
        change = (a[0] != b[0]) | (a[1] != b[1]) | step
        first = change & (a[2] <= b[2])
        edge.narrow(axis, 0, n).masked_fill_(first, 1.0)
        edge.narrow(axis, 1, n).masked_fill_(change & ~first, 1.0)
    return edge


def render(
    scenes: Sequence[Scene],
    tables: Sequence[Tensor],
    size: tuple[int, int],
    grain: Tensor,
    driven: float = 0.0,
    labelled: bool = True,
    further: Sequence[str] = (),
) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """Render a batch.

    Args:
        scenes: the scenes.
        tables: their primitives (`Scene.table`).
        size: (H, W).
        grain: ``(B, 3, H, W)`` standard normal sensor noise on the device to render on.
        driven: metres that the camera has driven.
        labelled: make the labels, too.
        further: labels besides the usual ones: ``shading``, and those of `densemtl_core.data.further_labels`.

    Returns:
        ``(B, 3, H, W)`` images, the labels (none if not ``labelled``), ``(B, 3, 3)`` intrinsics.
    """
    device, (h, w), b = grain.device, size, len(scenes)
    ground = stack([s.ground for s in scenes], device)
    light = stack([s.light for s in scenes], device)
    camera = stack([s.camera for s in scenes], device)
    K = torch.tensor([intrinsics(s.camera, size) for s in scenes], dtype=torch.float32).to(device)
    pose = torch.tensor([rotation(s.camera) for s in scenes], dtype=torch.float32).to(device)

    u = torch.arange(w, device=device, dtype=torch.float32).expand(b, h, w)
    v = torch.arange(h, device=device, dtype=torch.float32)[:, None].expand(b, h, w)
    focal, cx, cy = (K[:, i, j, None, None] for i, j in ((0, 0), (0, 2), (1, 2)))
    p, q = (u - cx) / focal, (v - cy) / focal
    R = pose[..., None, None]
    direction = torch.stack([R[:, i, 0] * p + R[:, i, 1] * q + R[:, i, 2] for i in range(3)], 1)
    length = (p * p + q * q + 1).sqrt()

    owner = torch.cat([torch.full((len(t),), i, dtype=torch.int64) for i, t in enumerate(tables)]).to(device)
    table = torch.cat(list(tables)).to(device).T.contiguous()
    table[COLUMN["x"]] -= camera["x"].flatten()[owner]
    table[COLUMN["y"]] += camera["height"].flatten()[owner]
    rays = direction.transpose(0, 1).reshape(3, -1)
    hits = cast(table, owner, screen_boxes(table, pose[owner], K[owner], size), size, rays)

    # `z` of a ray's hit in the camera frame is its parameter t, whatever the camera's rotation.
    plane = intersect_ground(ground, (camera["x"], camera["height"]), direction)
    t_object = hits.t.view(b, h, w)
    is_object = t_object < plane.t
    t = torch.minimum(t_object, plane.t)
    is_sky = t == torch.inf
    label = torch.zeros(b, h, w, dtype=torch.int64, device=device)
    albedo = torch.zeros(b, 3, h, w, device=device)
    below = _lines(~(is_object | is_sky))
    label[:, below], albedo[:, :, below] = paint_ground(
        ground, light["texture"], plane.lines(below), torch.full_like(cx, driven), focal, camera["height"]
    )
    label.masked_fill_(is_sky, CITYSCAPES_19.id("sky"))
    albedo.masked_fill_(is_sky[:, None], 0.0)
    normal = torch.stack([plane.normal_x, torch.where(plane.kerb, 0.0, -1.0), torch.zeros_like(plane.t)], 1)

    chosen = torch.nonzero(is_object.flatten()).squeeze(1)
    rows, depth = hits.primitive.index_select(0, chosen), hits.t.index_select(0, chosen)
    scene_of = owner[rows]
    s = surface(table, rows, depth, rays.index_select(1, chosen), depth / focal.flatten()[scene_of])
    paint_, mirror_, glow_ = paint(s, light["texture"].flatten()[scene_of])

    def scatter(dense: Tensor, values: Tensor) -> Tensor:
        columns = dense.movedim(0, -3).reshape(*dense.shape[1:-2], b * h * w)
        columns.index_copy_(-1, chosen, values)
        return columns.view(*dense.shape[1:-2], b, h, w).movedim(-3, 0)

    label = scatter(label, s.column["class"].long())
    instance = scatter(torch.zeros_like(label), s.column["instance"].long())
    albedo, normal = scatter(albedo, paint_), scatter(normal, s.normal)
    mirror = scatter(torch.zeros_like(t), mirror_)[:, None]
    glow = scatter(torch.zeros_like(albedo), glow_)

    # Under an overcast sky the light comes from above: its "shadows" dim what lies under cars and trees.
    sun, high = light["sun"][:, :, 0, 0], camera["height"][:, 0, 0]
    diffuse = light["overcast"][:, 0, 0] > 0
    lamp = torch.where(diffuse[:, None], torch.tensor([0.0, -1.0, 0.0], device=device), sun)
    shadow = shadow_map(table, owner, lamp, high, (max(h, 64), max(w * 3 // 4, 96)))
    lit = sunlit(shadow, lamp, high, direction * torch.where(is_sky, 1.0, t)[:, None], normal)
    open_sky = torch.where(diffuse[:, None, None], 0.35 + 0.65 * lit, 0.8 + 0.2 * lit)

    unit = direction / length[:, None]
    arriving = arriving_light(light, normal, lit, open_sky)
    colour = albedo * arriving
    shiny = _lines(mirror[:, 0] > 0)
    share = mirror[:, :, shiny]
    colour[:, :, shiny] = (
        colour[:, :, shiny] * (1 - share) + reflection(light, unit[:, :, shiny], normal[:, :, shiny]) * share
    )
    colour += glow
    air = torch.where(is_sky, 0.0, t) * length / light["haze"]
    clear = (1 / (1 + air + 0.5 * air * air))[:, None]
    colour = colour * clear + 0.85 * light["horizon"] * (1 - clear)
    above = _lines(is_sky)
    colour[:, :, above] = torch.where(is_sky[:, None, above], sky(light, unit[:, :, above]), colour[:, :, above])
    image = develop(light, colour, grain)
    if not labelled:
        return image, {}, K

    optical = torch.stack([dot(R[:, :, i], normal) for i in range(3)], 1)
    labels = {
        "semantic": label,
        "depth": t[:, None],
        "normals": torch.where(is_sky[:, None], torch.nan, optical),
        "edges": edge_map(label, instance, t)[:, None],
        "albedo": albedo,
        "instance": instance,
    }
    if "shading" in further:
        shines = glow.any(1, keepdim=True)
        labels["shading"] = relative_light(light, arriving).masked_fill(is_sky[:, None] | shines, torch.nan)
    return image, {**labels, **derive_further(further, labels, K)}, K


def _lines(mask: Tensor) -> slice:
    """The picture lines that hold anything of a mask ``(B, H, W)``: what lies elsewhere need not be computed."""
    found = torch.nonzero(mask.any(2).any(0)).squeeze(1).tolist()
    return slice(found[0], found[-1] + 1) if found else slice(0, 0)
