"""Raster function templates of ArcGIS, in Esri's words."""

from __future__ import annotations

XSI = "xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance' xmlns:typens='http://www.esri.com/schemas/ArcGIS/2.9.0'"


def variable(name: str, value: str = "") -> str:
    """An argument that may have a value."""
    return (
        f"<AnyType xsi:type='typens:RasterFunctionVariable'><Name>{name}_1</Name><Description></Description>"
        f"{value or '<Value></Value>'}<IsDataset>true</IsDataset></AnyType>"
    )


def function(title: str, arguments: dict[str, str], tag: str = "RasterFunctionTemplate") -> str:
    """A template in Esri's words; `arguments` are finished values."""
    names = "".join(f"<String>{name}</String>" for name in arguments)
    return (
        f"<{tag} xsi:type='typens:RasterFunctionTemplate' {XSI}><Name>{title}</Name><Description>d</Description>"
        f"<Function xsi:type='typens:PythonAdapterFunction'><Name>{title}</Name></Function>"
        f"<Arguments xsi:type='typens:PythonAdapterFunctionArguments'><Names xsi:type='typens:ArrayOfString'>{names}"
        f"</Names><Values xsi:type='typens:ArrayOfAnyType'>{''.join(arguments.values())}</Values></Arguments></{tag}>"
    )


SLRA = "Stepwise Local Radiometric Adjustment"


def doubles(*numbers: float) -> str:
    """An argument that is a list of numbers."""
    inner = "".join(f"<Double>{number}</Double>" for number in numbers)
    return variable("v", f"<Value xsi:type='typens:ArrayOfDouble'>{inner}</Value>")


def slra(**arguments: str) -> str:
    """A template of SLRA; `arguments` replace those that it has."""
    base = {
        "size_of_window": variable("size_of_window", "<Value xsi:type='xs:int'>40</Value>"),
        "input_mask": variable("input_mask"),
        "input_raster": variable("Raster"),
        "input_replacement_raster": variable("input_replacement_raster"),
        "PythonModule": "<AnyType xsi:type='xs:string'>C:\\slra.py</AnyType>",
    }
    return function(SLRA, base | arguments)
