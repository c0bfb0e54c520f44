// For the type check only: a chart is whatever uPlot makes of it.
declare const uPlot: any;
export default uPlot;
