/** Windows that radiologists call by name: centre and width in Hounsfield units. */

export interface Preset {
  name: string;
  center: number;
  width: number;
}

export const CT_PRESETS: Preset[] = [
  { name: "Soft tissue", center: 40, width: 400 },
  { name: "Lung", center: -600, width: 1500 },
  { name: "Bone", center: 400, width: 1800 },
  { name: "Brain", center: 40, width: 80 },
  { name: "Liver", center: 90, width: 150 },
  { name: "Mediastinum", center: 50, width: 350 },
  { name: "Vessels", center: 300, width: 600 },
  { name: "Stroke", center: 35, width: 35 },
];
