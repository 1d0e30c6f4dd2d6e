/** The micrograph as tiles, at any size; and where its pixels lie in the window. */

import { at, settled } from "./dom.js";
import { addressOf } from "./server.js";
import { state } from "./state.js";

const { OpenSeadragon: Seadragon } = window; // a script of the page, no module
const TILE_PX = 512;

export const viewer = Seadragon({
  element: at("picture"),
  drawer: "canvas",
  showNavigationControl: false,
  animationTime: 0.25,
  springStiffness: 12,
  maxZoomPixelRatio: 8,
  visibilityRatio: 0.3,
  minZoomImageRatio: 0.7,
  imageLoaderLimit: 6,
  immediateRender: true,
  gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: false, flickEnabled: false },
  gestureSettingsTouch: { clickToZoom: false, dblClickToZoom: false, pinchRotate: false },
  gestureSettingsPen: { clickToZoom: false, dblClickToZoom: false },
});
// The page has keys of its own.
viewer.addHandler("canvas-key", (event) => {
  event.preventDefaultAction = true;
});

let failed = () => {};
/** Call `work` with the address of a tile that cannot be had. */
export const onTileProblem = (work) => {
  failed = work;
};
viewer.addHandler("tile-load-failed", ({ tile }) => failed(tile.getUrl()));

const levelsOf = ({ width, height }) => Math.max(0, Math.ceil(Math.log2(Math.max(width, height) / TILE_PX)));

const sourceOf = (view) => {
  const levels = levelsOf(view);
  const { lowpass, contrast, invert } = state.look;
  const query = `lowpass=${lowpass}&contrast=${(10 ** (contrast / 20)).toFixed(3)}&invert=${invert ? 1 : 0}&image=${view.image}`;
  return {
    width: view.width,
    height: view.height,
    tileSize: TILE_PX,
    minLevel: 0,
    maxLevel: levels,
    getTileUrl: (level, x, y) => addressOf(`/tiles/${view.position}/${levels - level}/${x}/${y}?${query}`),
  };
};

/** Show another micrograph, all of it. */
export const showPicture = (view) => {
  viewer.open(sourceOf(view));
};

/** Show the same place with another look; what is there stays until the new tiles are. */
export const refreshPicture = settled(() => {
  if (!state.view) return;
  const old = viewer.world.getItemAt(viewer.world.getItemCount() - 1);
  viewer.addTiledImage({
    tileSource: sourceOf(state.view),
    success: ({ item }) => {
      const drop = () => {
        for (let i = viewer.world.getItemCount() - 1; i >= 0; i--) {
          const one = viewer.world.getItemAt(i);
          if (one !== item && (one === old || one.getFullyLoaded())) viewer.world.removeItem(one);
        }
      };
      if (item.getFullyLoaded()) drop();
      else item.addOnceHandler("fully-loaded-change", drop);
    },
  });
}, 150);

/** Have the server read a micrograph that is likely to be shown next. */
export const prepare = (position) => {
  new Image().src = addressOf(`/tiles/${position}/0/0/0?lowpass=0&contrast=1.000&invert=0`);
};

/** How px of the micrograph become those of the window: x' = scale x + left, y' = scale y + top. */
export const placing = () => {
  const image = viewer.world.getItemAt(0);
  if (!image) return null;
  const zero = image.imageToViewerElementCoordinates(new Seadragon.Point(0.5, 0.5));
  const thousand = image.imageToViewerElementCoordinates(new Seadragon.Point(1000.5, 0.5));
  return { scale: (thousand.x - zero.x) / 1000, left: zero.x, top: zero.y };
};

/** The px of the micrograph at a point of the picture's element, to a hundredth. */
export const pixelAt = (point) => {
  const { scale, left, top } = placing();
  return [Math.round((100 * (point.x - left)) / scale) / 100, Math.round((100 * (point.y - top)) / scale) / 100];
};

export const middle = () => new Seadragon.Point(at("room").clientWidth / 2, at("room").clientHeight / 2);

export const move = (x, y) => {
  viewer.viewport.panBy(viewer.viewport.deltaPointsFromPixels(new Seadragon.Point(x, y)));
  viewer.viewport.applyConstraints();
};

export const enlarge = (factor) => {
  viewer.viewport.zoomBy(factor);
  viewer.viewport.applyConstraints();
};

export const showAll = () => viewer.viewport.goHome();
