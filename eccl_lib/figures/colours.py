"""Colours of all figures: colour-blind-safe, the same for a task, method, modality or chamber in every figure."""

# Okabe and Ito (2008): distinct for the three common kinds of colour blindness, and in grey.
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILION, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
GREY, PALE = "#6B6B6B", "#D9D9D9"
CYCLE = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, BLACK)
CHAMBERS = {
    "LV": ("left ventricle", BLUE),
    "RV": ("right ventricle", SKY),
    "LA": ("left atrium", GREEN),
    "RA": ("right atrium", "#8CD0B8"),
    "AAo": ("ascending aorta", VERMILION),
    "DAo": ("descending aorta", "#EFAE80"),
    "WT": ("wall thickness", ORANGE),
    "Ecc": ("circumferential strain", PURPLE),
    "Err": ("radial strain", "#E8C9D9"),
    "Ell": ("longitudinal strain", "#A8A8A8"),
}
CHAMBER_NAMES = {group: name for group, (name, _) in CHAMBERS.items()}
CHAMBER_COLOURS = {group: colour for group, (_, colour) in CHAMBERS.items()}  # related chambers share a hue
TASK_COLOURS = {"I21": BLUE, "I42": ORANGE, "I48": GREEN, "I50": VERMILION, "traits": PURPLE}
METHOD_COLOURS = {"ECCL": BLUE, "CMR_Sup": ORANGE, "CMAE": GREEN, "Triplet": PURPLE, "ResNet50": SKY, "ViT": BLACK}
METHOD_COLOURS |= {"W/O SSL; W/O CL": VERMILION, "W/ SSL; W/O CL": "#8C510A", "W/O SSL; W/ CL": "#999933"}
METHOD_COLOURS["CMR, supervised"] = ORANGE
ENCODER_COLOURS = {  # on real ECGs; those of the study's rows that they come from
    "measurements": BLACK,
    "random": METHOD_COLOURS["W/O SSL; W/O CL"],
    "MAE, real": GREEN,
    "MAE, synthetic": METHOD_COLOURS["W/ SSL; W/O CL"],
    "MAE, synthetic then real": PURPLE,
    "ECCL, synthetic": METHOD_COLOURS["ECCL"],
}
